"""Questions go before texts to index, and never stop them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from index import precedence
from index.precedence import Precedence

SOON = 0.05
"""Seconds after which a thread that may begin has begun; one that may not is waited for as long."""


class Pieces:
    """Threads that each hold a piece until told to end."""

    def __init__(self, gate: Precedence, count: int) -> None:
        self._gate = gate
        self._end = threading.Event()
        self.begun: list[float] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with self._gate.piece():
            self.begun.append(time.monotonic())
            self._end.wait(10)

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def pieces(gate: Precedence, count: int) -> Iterator[Pieces]:
    made = Pieces(gate, count)
    try:
        time.sleep(SOON)
        yield made
    finally:
        made.end()


def test_without_questions_every_core_has_a_piece() -> None:
    with pieces(Precedence(3), 5) as made:
        assert len(made.begun) == 3
    assert len(made.begun) == 5


@pytest.mark.parametrize(("expected_for", "at_once"), [(30.0, 2), (0.0, 3)])
def test_one_core_is_left_alone_while_questions_come(
    monkeypatch: pytest.MonkeyPatch, expected_for: float, at_once: int
) -> None:
    """A question that is over expects another; expected for no time at all is the null control."""
    monkeypatch.setattr(precedence, "WHILE", expected_for)
    gate = Precedence(3)
    with gate.question():
        assert gate.expected
    assert gate.expected is (expected_for > 0)
    with pieces(gate, 5) as made:
        assert len(made.begun) == at_once


@pytest.mark.parametrize(("patience", "waits"), [(10.0, True), (0.0, False)])
def test_no_piece_begins_while_a_question_computes(
    monkeypatch: pytest.MonkeyPatch, patience: float, waits: bool
) -> None:
    """Without patience, the null control, it begins beside the question."""
    monkeypatch.setattr(precedence, "PATIENCE", patience)
    gate = Precedence(2)
    with gate.question():
        made = Pieces(gate, 1)
        time.sleep(SOON)
        assert bool(made.begun) is not waits
    made.end()
    assert made.begun


def test_questions_without_end_do_not_stop_an_upload() -> None:
    gate = Precedence(1)
    with gate.question():
        began = time.monotonic()
        with gate.piece():
            assert precedence.PATIENCE * 0.9 < time.monotonic() - began < 5


def test_a_question_never_waits() -> None:
    gate = Precedence(1)
    with gate.piece(), gate.question():
        assert gate.expected
