"""Documents that tell which version they are: every sentence of a version has a word that no other version has."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

# Long words fill a passage with little work for the encoder.
_COMMON = (
    "Brückeninstandhaltung",
    "Hochwasserschutzanlage",
    "Fährverbindungsgesellschaft",
    "Straßenverkehrsbehörde",
    "Bahnhofsgebäudesanierung",
    "Uferbefestigungsarbeiten",
    "Schifffahrtsverwaltung",
    "Winterdienstfahrzeuge",
    "Eisenbahnüberführung",
    "Geschwindigkeitsbegrenzung",
    "Haushaltsausschusssitzung",
    "Hafenbeckenerweiterung",
    "Landwirtschaftsbetriebe",
    "Trinkwasserversorgung",
    "Fußgängerunterführung",
    "Bürgerversammlungsprotokoll",
)
_VERSION = re.compile(r"\bv(\d+)x(\d+)\b")


@dataclass(frozen=True)
class Version:
    """The ``number``-th version of the document called ``key``; numbers are never used twice for a key."""

    key: int
    number: int

    @property
    def source(self) -> str:
        """Name of the document."""
        return f"{self.key}.txt"

    @property
    def word(self) -> str:
        """The word that only this version has."""
        return f"v{self.key}x{self.number}"

    @cached_property
    def text(self) -> str:
        """One to three paragraphs, each a passage of its own, with characters of one to four bytes."""
        draw = random.Random(f"{self.key} {self.number}")
        paragraphs = (
            " ".join(
                f"Brücke {self.word} {key_word(self.key)} 😀 {' '.join(draw.sample(_COMMON, 8))}." for _ in range(4)
            )
            for _ in range(draw.choice((1, 1, 1, 2, 3)))
        )
        return "\n\n".join(paragraphs)

    @property
    def passages(self) -> int:
        """In how many passages it is stored."""
        return self.text.count("\n\n") + 1

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the text."""
        return sha256(self.text.encode()).hexdigest()


def key_word(key: int) -> str:
    """Return the word that all versions of a document have, and no other document."""
    return f"key{key}"


def versions_in(text: str) -> set[Version]:
    """Return the versions whose words a text has."""
    return {Version(int(key), int(number)) for key, number in _VERSION.findall(text)}
