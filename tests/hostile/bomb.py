"""What a hostile file made by hand is: what it tries, how it is made, and how it may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

READ = "read"
"""How a file ends that is read; any other end is the code it is refused with."""

DAMAGED, COMPLEX, EMPTY = "document_damaged", "document_too_complex", "document_empty"
ENCRYPTED, LARGE = "document_encrypted", "document_too_large"
BINARY, ENCODING = "document_binary", "document_encoding"

FILE = "file:" + "//"
"""What the address of a file of the host begins with."""

Make = Callable[[Path], bytes]
"""Told a file of the host that it may try to get at; returns the hostile file."""


@dataclass(frozen=True, slots=True)
class Bomb:
    """One hostile file."""

    name: str
    """With its ending."""
    tries: str
    make: Make
    ends: frozenset[str]
    """``READ``, or codes it may be refused with; under tight limits ``COMPLEX`` is always allowed."""


@dataclass(slots=True)
class Bombs:
    """The bombs of one format, in the order they are written down."""

    ending: str
    all: list[Bomb] = field(default_factory=list)

    def add(self, tries: str, *ends: str, ending: str = "") -> Callable[[Make], Make]:
        """Add what the decorated function makes; its name becomes the file's."""

        def taken(make: Make) -> Make:
            name = make.__name__.strip("_").replace("_", "-")
            self.all.append(Bomb(f"{name}.{ending or self.ending}", tries, make, frozenset(ends)))
            return make

        return taken
