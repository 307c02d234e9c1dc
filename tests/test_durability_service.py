"""The durability contract seen through HTTP: a few trials of the programs that ``make bench`` runs in thousands."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.durability.common import run_program
from tests.durability.linearizability import Kind, Operation, State, apply, end_states, stale_reads

ID = "d"


def put(version: str, start: float, end: float, status: str = "updated", document_id: str = ID) -> Operation:
    return Operation("put", version, (status, document_id), start, end)


def see(version: str | None, start: float, end: float, document_id: str = ID) -> Operation:
    return Operation("see", "", None if version is None else (version, document_id), start, end)


def text(version: str | None, start: float, end: float, document_id: str = ID) -> Operation:
    return Operation("text", document_id, version, start, end)


def delete(met: bool, start: float, end: float, kind: Kind = "delete") -> Operation:
    return Operation(kind, ID if kind == "delete" else "", met, start, end)


FIRST: State = ("a", ID)

GOOD: dict[str, tuple[State, list[Operation]]] = {
    "nothing": (None, []),
    "one after the other": (None, [put("a", 0, 1, "added"), see("a", 2, 3), delete(True, 4, 5), see(None, 6, 7)]),
    "a read beside a write sees the old": (FIRST, [put("b", 0, 9), see("a", 1, 2)]),
    "a read beside a write sees the new": (FIRST, [put("b", 0, 9), see("b", 1, 2)]),
    "two writes at once, either wins": (FIRST, [put("b", 0, 9), put("c", 0, 9), see("b", 10, 11)]),
    "two writes at once, seen in turn": (FIRST, [put("b", 0, 9), put("c", 0, 9), see("c", 1, 2), see("b", 3, 4)]),
    "sent again beside its deletion": (
        FIRST,
        [delete(True, 0, 9), put("a", 0, 9, "unchanged"), put("a", 10, 11, "added"), put("a", 12, 13, "unchanged")],
    ),
    "deleted and added again": (
        FIRST,
        [delete(True, 0, 9, "clear"), put("b", 1, 8, "added", "e"), text(None, 10, 11)],
    ),
    "the second delete of two meets nothing": (FIRST, [delete(True, 0, 9), delete(False, 0, 9), see(None, 10, 11)]),
    "text of an older document of that name": (("a", "e"), [text(None, 0, 1), see("a", 2, 3, "e")]),
}
BAD: dict[str, tuple[State, list[Operation]]] = {
    "stale read after an acknowledged write": (FIRST, [put("b", 0, 1), see("a", 2, 3)]),
    "stale text after an acknowledged write": (FIRST, [put("b", 0, 1), text("a", 2, 3)]),
    "lost update": (FIRST, [put("b", 0, 1), put("c", 2, 3), see("b", 4, 5)]),
    "a write that never was": (FIRST, [see("b", 0, 1)]),
    "read from the future": (FIRST, [see("b", 0, 1), put("b", 2, 3)]),
    "deleted, yet found": (FIRST, [delete(True, 0, 1), see("a", 2, 3)]),
    "resurrected": (FIRST, [delete(True, 0, 1), see(None, 2, 3), see("a", 4, 5)]),
    "not deleted, yet gone": (FIRST, [see(None, 0, 1)]),
    "new, then old again": (FIRST, [put("b", 0, 9), see("b", 1, 2), see("a", 3, 4)]),
    "search and text do not agree": (FIRST, [put("b", 0, 9), see("b", 1, 2), text("a", 3, 4)]),
    "two deletes of one document": (FIRST, [delete(True, 0, 9), delete(True, 0, 9)]),
    "two writes at once, both new": (None, [put("a", 0, 9, "added"), put("b", 0, 9, "added", "e")]),
    "said to be unchanged, but was not": (FIRST, [put("b", 0, 1), put("a", 2, 3, "unchanged")]),
    "said to be updated, but was the same": (FIRST, [put("a", 0, 1)]),
    "two clients see two orders": (
        FIRST,
        [put("b", 0, 9), put("c", 0, 9), see("b", 10, 11), see("c", 12, 13)],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_a_register_explains(name: str) -> None:
    start, operations = GOOD[name]
    assert end_states(operations, [start])
    assert stale_reads(operations) == []


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_no_register_explains(name: str) -> None:
    start, operations = BAD[name]
    assert end_states(operations, [start]) == set()


def test_end_states_are_all_that_are_possible() -> None:
    both = [put("b", 0, 9), put("c", 0, 9)]
    assert end_states(both, [FIRST]) == {("b", ID), ("c", ID)}
    assert end_states([see("c", 10, 11)], end_states(both, [FIRST])) == {("c", ID)}


def test_stale_reads_are_named() -> None:
    stale = [see("a", 4, 5), see(None, 6, 7)]
    operations = [put("a", 0, 1), put("b", 2, 3), *stale]
    assert stale_reads(operations) == stale


def _explained_by_some_order(operations: list[Operation], state: State) -> bool:
    """The definition itself: try every order that keeps to the clock."""
    for order in itertools.permutations(operations):
        current, legal = state, True
        for index, operation in enumerate(order):
            fits, current = apply(current, operation)
            legal &= fits and all(operation.start <= later.end for later in order[index + 1 :])
        if legal:
            return True
    return False


def test_the_search_finds_an_order_exactly_if_there_is_one() -> None:
    draw = random.Random(9)
    found = {True: 0, False: 0}
    for _ in range(600):
        operations = []
        for _ in range(4):
            start = draw.randrange(6)
            span = (start, start + draw.randrange(1, 5) + 0.5)
            version, met = draw.choice(["a", "b", "c", None]), draw.random() < 0.5
            operations.append(
                draw.choice(
                    [
                        put(draw.choice("abc"), *span, status=draw.choice(["added", "updated", "unchanged"])),
                        delete(met, *span),
                        delete(met, *span, kind="clear"),
                        see(version, *span),
                        text(version, *span),
                    ]
                )
            )
        expected = _explained_by_some_order(operations, FIRST)
        assert bool(end_states(operations, [FIRST])) is expected, operations
        found[expected] += 1
    assert min(found.values()) > 50


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost_when_the_service_is_killed() -> None:
    status, figures = run_program("service_kills", "--trials", "30", "--exec")
    assert (status, figures["violations"]) == (0, 0), figures
    assert figures["acknowledged"] > 100
    assert figures["under way"] > 10


@pytest.mark.slow
def test_an_acknowledgement_that_comes_too_early_is_noticed() -> None:
    status, figures = run_program("service_kills", "--trials", "8", "--break", "early-ack")
    assert status == 1
    assert figures["kinds"]["lost"] > 0, figures


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_sixteen_clients_see_one_register_for_each_document() -> None:
    status, figures = run_program("history", "--trials", "10000")
    assert (status, figures["violations"]) == (0, 0), figures
    assert figures["checked"] > 10_000
    assert figures["swaps"] > 0


@pytest.mark.slow
def test_a_change_that_becomes_visible_too_late_is_noticed() -> None:
    status, figures = run_program("history", "--trials", "500", "--break", "stale-reads")
    assert status == 1
    assert figures["kinds"]["not linearizable"] > 0, figures
    assert figures["kinds"]["stale"] > 0, figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_notices_a_swap() -> None:
    status, figures = run_program("swaps", "--trials", "20")
    assert (status, figures["violations"], figures["swaps"]) == (0, 0, 20), figures


@pytest.mark.slow
def test_an_answer_of_two_generations_is_noticed() -> None:
    status, figures = run_program("swaps", "--trials", "4", "--break", "mixed")
    assert status == 1
    assert figures["kinds"]["other generation"] > 0, figures


@pytest.mark.slow
def test_a_question_to_the_wrong_model_is_noticed() -> None:
    status, figures = run_program("swaps", "--trials", "4", "--break", "mixed-models")
    assert status == 1
    assert figures["kinds"]["not found"] > 0, figures
