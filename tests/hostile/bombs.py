"""All hostile files made by hand."""

from __future__ import annotations

from collections.abc import Iterator

from tests.files import Article, as_bytes
from tests.hostile.bomb import BINARY, DAMAGED, EMPTY, ENCODING, READ, Bomb, Make
from tests.hostile.page_bombs import PAGE
from tests.hostile.pdf_bombs import PDF
from tests.hostile.text_bombs import MARKDOWN, TEXT
from tests.hostile.word_bombs import WORD

_ARTICLE = Article("The Ferry", ("It leaves every twenty minutes.", "It takes bicycles too."), {1: "Bicycles"})
_KINDS = ("txt", "md", "html", "pdf", "docx")
_OTHERWISE = {
    "txt": frozenset({READ, BINARY, ENCODING}),
    "md": frozenset({READ, BINARY, ENCODING}),
    "html": frozenset({READ, ENCODING, EMPTY}),
    "pdf": frozenset({DAMAGED}),
    "docx": frozenset({DAMAGED}),
}
"""How a file may end that is not what its ending says."""


def _as_it_is(data: bytes) -> Make:
    return lambda host: data


def _wrongly_named() -> Iterator[Bomb]:
    for true in _KINDS:
        data = as_bytes(_ARTICLE, true)
        for ending in _KINDS:
            if ending != true:
                name = f"really-{true}.{ending}"
                yield Bomb(name, f"{true} under the name of {ending}", _as_it_is(data), _OTHERWISE[ending])


BOMBS: tuple[Bomb, ...] = (*WORD.all, *PDF.all, *PAGE.all, *MARKDOWN.all, *TEXT.all, *_wrongly_named())
