from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from index.chunk import PASSAGE_CHARACTERS, QUOTE_CHARACTERS, cut
from index.records import Cut
from index.sentences import split_paragraphs, split_sentences

ALPHABET = "abcäöüß ÄÖ.!?„“»«\n\n\n\r\t,;:–1234567890 中文。ไทยабв\U0001f600e\u0301\u00a0\u2028"
texts = st.one_of(
    st.text(min_size=1),
    st.text(ALPHABET, min_size=1, max_size=4000),
    st.lists(
        st.sampled_from(["Ja. ", "Ja. ", "Nein!\n", "\n\n", "z. B. ", "am 3. Oktober ", "wort" * 30]), min_size=1
    ).map("".join),
).filter(lambda text: bool(text.strip()))


def check(text: str, result: Cut) -> None:
    end = 0
    for passage, sentences in zip(result.passages, result.sentences, strict=True):
        assert end <= passage.start < passage.end <= len(text)
        assert not text[end : passage.start].strip(), "a character between passages was lost"
        assert len(passage) <= PASSAGE_CHARACTERS
        assert passage.of(text) == passage.of(text).strip()
        inner = passage.start
        for sentence in sentences:
            assert inner <= sentence.start < sentence.end <= passage.end
            assert not text[inner : sentence.start].strip(), "a character between sentences was lost"
            assert len(sentence) <= QUOTE_CHARACTERS
            inner = sentence.end
        assert not text[inner : passage.end].strip()
        end = passage.end
    assert not text[end:].strip()


@given(texts, st.sampled_from(["de", "en", "zh", "und"]))
@settings(max_examples=300, deadline=None)
@example("a" * 5000, "de")
@example("ja " * 3000, "de")
@example("Gleich. " * 400, "de")
@example("x\r\n\r\ny", "en")
def test_every_passage_and_sentence_is_a_slice_and_nothing_is_lost(text: str, language: str) -> None:
    check(text, cut(text, language))


def test_the_check_can_fail() -> None:
    """The null control: offsets moved by one are noticed."""
    text = "Erster Satz. Zweiter Satz."
    good = cut(text, "de")
    moved = Cut(tuple(type(span)(span.start + 1, span.end) for span in good.passages), good.sentences)
    with pytest.raises(AssertionError):
        check(text, moved)


@pytest.mark.parametrize("text", ["wort " * 900, "Haus, Hof und Garten; " * 200])
def test_no_word_is_cut(text: str) -> None:
    result = cut(text, "de")
    words = set(text.split())
    for passage, sentences in zip(result.passages, result.sentences, strict=True):
        for span in (passage, *sentences):
            assert set(span.of(text).split()) <= words


def test_a_word_longer_than_a_quote_is_cut_inside() -> None:
    result = cut("a" * 1000, "de")
    assert [len(span) for span in result.sentences[0]] == [400, 400, 200]


def test_a_script_without_spaces_is_cut_between_characters() -> None:
    text = "数据库保存文件并提供搜索" * 200
    result = cut(text, "zh")
    assert all(len(span) <= QUOTE_CHARACTERS for sentences in result.sentences for span in sentences)


def test_passages_keep_to_paragraphs() -> None:
    paragraphs = [f"Absatz {number}. " + "Ein Satz mit einigen Worten. " * 25 for number in range(4)]
    text = "\n\n".join(paragraph.strip() for paragraph in paragraphs)
    result = cut(text, "de")
    assert [span.of(text)[:9] for span in result.passages] == [f"Absatz {number}." for number in range(4)]


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        (
            "Am 3. Oktober sagte Dr. Müller (CDU), z. B. in Nr. 5: „Wir kommen.“ Das war alles, d. h. genug.",
            ["Am 3. Oktober sagte Dr. Müller (CDU), z. B. in Nr. 5: „Wir kommen.“", "Das war alles, d. h. genug."],
        ),
        (
            "„Wir werden mehr tun“, sagte sie, „und das ist gut.“ Danach ging sie nach Hause.",
            ["„Wir werden mehr tun“, sagte sie, „und das ist gut.“", "Danach ging sie nach Hause."],
        ),
        ("Im 16. Jahrhundert war es kalt. Es schneite oft.", ["Im 16. Jahrhundert war es kalt.", "Es schneite oft."]),
        ("Die 3,5 Mio. Euro reichen nicht. Es fehlt Geld.", ["Die 3,5 Mio. Euro reichen nicht.", "Es fehlt Geld."]),
        (
            "Eine Überschrift ohne Punkt\nDarunter beginnt der Text.",
            ["Eine Überschrift ohne Punkt", "Darunter beginnt der Text."],
        ),
    ],
)
def test_german_sentences(paragraph: str, expected: list[str]) -> None:
    assert [sentence.strip() for sentence in split_sentences(paragraph, "de")] == expected


def test_hard_wrapped_prose_is_not_cut_at_its_line_ends() -> None:
    text = (
        "Das Museum hat in seinem Archiv einen Schrank geöffnet, der seit mehr\n"
        "als hundert Jahren verschlossen war. Darin lagen Briefe, die niemand\n"
        "mehr vermisst hatte.\n"
    )
    assert len(split_sentences(text, "de")) == 2


@given(st.text(ALPHABET, max_size=400), st.sampled_from(["de", "en"]))
@settings(deadline=None)
def test_splitters_partition_the_text(text: str, language: str) -> None:
    assert "".join(split_paragraphs(text)) == text
    assert "".join(split_sentences(text, language)) == text


@pytest.mark.parametrize("length", [1, 300, 3000])
def test_a_line_longer_than_any_paragraph_has_the_same_sentences(length: int) -> None:
    sentences = [f"Das ist der Satz Nummer {number} von Dr. Meier, und er geht weiter." for number in range(length)]
    assert [piece.strip() for piece in split_sentences(" ".join(sentences), "de")] == sentences


@pytest.mark.parametrize(
    "text", ["«" * 30_000 + " Text. " + "“" * 30_000, "a" * 100_000, "a. " * 20_000, "(" * 50_000]
)
def test_what_has_no_sentences_is_cut_all_the_same(text: str, caplog: pytest.LogCaptureFixture) -> None:
    pieces = split_sentences(text, "de")
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 4000
    assert cut(text, "de").passages
    assert not caplog.records, "a document writes the log full"
