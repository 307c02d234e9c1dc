"""What is searched may differ from what is stored; every place in it leads back to the right letter."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import Library, document_from_text
from index.fold import fold
from index.layout import Heading, Layout, layout_problem, locate, pack, paragraph_starts, unpack
from index.sentences import split_sentences
from tests.tiny import TinyEncoder

WORDS = ("Bun", "des", "tag", "und", "Ober", "3", "मु", "한", "😀", "a\u0308", "e\u0301\u0323", "\ufb01", "\ufb04")
MARKS = ("\u00ad", "-\n", "-\r\n", "\u2010\n ", " ", "\n", "\u00a0", "\u202f", "\u200b", "\ufeff", "-", "–", "\u0308")
PIECES = st.lists(st.sampled_from([*WORDS, *MARKS]), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("stored", "searched"),
    [
        ("Deutsch\u00adland", "Deutschland"),
        ("Bundes\u00ad\ntag", "Bundestag"),
        ("Bundes-\ntag tagt", "Bundestag tagt"),
        ("Bundes-\r\n  tag", "Bundestag"),
        ("CDU-\nPolitikerin", "CDU-Politikerin"),
        ("Vor-\nund Nachteile", "Vor- und Nachteile"),
        ("1914-\n1918", "1914-1918"),
        ("a\u00a0b\u202fc\u2009d", "a b c d"),
        ("o\ufb03ce, \ufb02ow", "office, flow"),
        ("Mu\u0308nchen", "München"),
        ("well-known", "well-known"),
        ("word -\nlist", "word -\nlist"),
        ("plain text\nstays", "plain text\nstays"),
    ],
)
def test_what_typesetting_adds_is_not_searched(stored: str, searched: str) -> None:
    assert fold(stored).text == searched


@given(PIECES)
def test_the_quick_look_misses_nothing(text: str) -> None:
    with mock.patch("index.fold._WORTH_LOOKING", re.compile("")):
        thorough = fold(text)
    found = fold(text)
    assert found.text == thorough.text
    assert (found.places is None) is (thorough.places is None)


@given(PIECES)
def test_each_letter_leads_back_to_where_it_stands(text: str) -> None:
    folded = fold(text)
    if folded.places is None:
        assert folded.text == text
        return
    places = folded.places.tolist()
    assert len(places) == len(folded.text)
    assert places == sorted(places)
    for letter, place in zip(folded.text, places, strict=True):
        if letter.isalnum() and letter.isascii() and text[place].isascii():
            assert text[place] == letter


@given(PIECES)
def test_folding_twice_is_folding_once(text: str) -> None:
    once = fold(text).text
    assert fold(once).text == once or {"-", "\u2010"} & set(
        once
    )  # a hyphen may come to stand at the end of another line


def test_places_of_tokens_lead_back_to_the_stored_text() -> None:
    folded = fold("Der Bundes-\ntag tagt")
    starts = np.array([0, 4, folded.text.index("tagt")], np.uint16)
    assert [("Der Bundes-\ntag tagt")[place] for place in folded.stored(starts).tolist()] == ["D", "B", "t"]
    assert folded.stored(starts).tolist()[2] == "Der Bundes-\ntag tagt".index("tagt", 13)


def test_a_divided_word_is_found_and_quoted_as_it_stands(tmp_path: Path, tiny: TinyEncoder) -> None:
    text = "Gestern hat der Bundes\u00ad\ntag lange getagt. Heute ruht er sich aus."
    with Library(tmp_path / "data", tiny, writable=True) as library:
        library.add([document_from_text("a.txt", text), document_from_text("b.txt", "Morgen ist nichts los.")])
        (first, *_) = library.search("Bundestag", 2).hits
        assert first.text == text
        assert first.matches is not None
        best = int(first.matches.similarities[0].argmax())
        assert first.matches.similarities[0, best] > 0.99
        assert text[int(first.matches.starts[best]) :].startswith("Bundes\u00ad\ntag")


def test_a_divided_word_does_not_end_a_sentence() -> None:
    text = "Der Stadtrat hat die Sper-\nrung verlängert.\nDas ärgert viele Bürger."
    assert [part.strip() for part in split_sentences(text, "de")] == [
        "Der Stadtrat hat die Sper-\nrung verlängert.",
        "Das ärgert viele Bürger.",
    ]
    windows = text.replace("\n", "\r\n")
    assert len(split_sentences(windows, "de")) == 2
    assert "".join(split_sentences(windows, "de")) == windows


# ---- layouts -------------------------------------------------------------------------------------------------------

NUMBERS = st.lists(st.integers(0, 2**32 - 1), max_size=20).map(sorted).map(tuple)
HEADINGS = st.lists(
    st.builds(Heading, st.integers(0, 2**31), st.integers(2**31, 2**32 - 1), st.integers(1, 9)), max_size=10
).map(lambda found: tuple(sorted(found, key=lambda heading: heading.start)))


@given(NUMBERS, HEADINGS, NUMBERS)
def test_a_layout_survives_being_stored(
    pages: tuple[int, ...], headings: tuple[Heading, ...], paragraphs: tuple[int, ...]
) -> None:
    layout = Layout(pages, headings, paragraphs)
    assert unpack(pack(layout)) == layout


@given(st.text("ab \n\r\f\u2029\t", max_size=60))
def test_paragraphs_begin_where_text_begins_after_a_blank_line(text: str) -> None:
    starts = paragraph_starts(text)
    assert layout_problem(Layout(paragraphs=starts), len(text)) == ""
    assert bool(starts) == bool(text.strip())
    for start in starts[1:]:
        assert not text[start].isspace()


def test_where_something_is() -> None:
    layout = Layout((0, 100, 100, 200), (Heading(10, 20, 1), Heading(120, 130, 2)), (0, 50, 120))
    assert locate(Layout(), 5, 10) == locate(Layout(), 0, 0)
    first = locate(layout, 5, 9)
    assert (first.page, first.last_page, first.section, first.paragraph) == (1, None, None, 1)
    across = locate(layout, 60, 101)
    assert (across.page, across.last_page, across.section, across.paragraph) == (1, 3, layout.headings[0], 2)
    up_to = locate(layout, 60, 100)
    assert (up_to.page, up_to.last_page) == (1, None)
    last = locate(layout, 250, 260)
    assert (last.page, last.section, last.paragraph) == (4, layout.headings[1], 3)


@pytest.mark.parametrize(
    "layout",
    [
        Layout(pages=(5, 3)),
        Layout(pages=(0, 11)),
        Layout(headings=(Heading(3, 3, 1),)),
        Layout(headings=(Heading(3, 11, 1),)),
        Layout(paragraphs=(4, 2)),
    ],
)
def test_a_layout_of_another_text_is_noticed(layout: Layout) -> None:
    assert layout_problem(layout, 10)
