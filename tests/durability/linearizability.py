"""Whether one document's history can be explained by a single register that all clients share.

Every operation takes effect at one moment between its start and its end. A history is linearizable if there is an
order of these moments in which each result is what a register, which holds one version or nothing, would have given
(Herlihy & Wing 1990). The search for such an order is that of Wing & Gong (1993), with visited states remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = tuple[str, str] | None
"""Version and document id; ``None`` while there is no document."""
Kind: TypeAlias = Literal["put", "delete", "clear", "text", "see"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call and what came back.

    ======== =========================== ==================================================
    kind     ``given``                   ``result``
    ======== =========================== ==================================================
    put      version                     "added", "updated" or "unchanged", document id
    delete   document id                 whether there was one
    clear    (delete by source)          whether there was one
    text     document id                 version or ``None``
    see      (search or list)            :data:`State`
    ======== =========================== ==================================================
    """

    kind: Kind
    given: str
    result: tuple[str, str] | bool | str | None
    start: float
    end: float


def apply(state: State, operation: Operation) -> tuple[bool, State]:
    """Return whether a register in ``state`` could have given this result, and its state afterwards."""
    kind, given, result = operation.kind, operation.given, operation.result
    if kind == "put":
        if not isinstance(result, tuple):
            return False, state
        outcome, document_id = result
        expected = "added" if state is None else "unchanged" if state[0] == given else "updated"
        return outcome == expected and (state is None or state[1] == document_id), (given, document_id)
    if kind == "delete":
        met = state is not None and state[1] == given
        return result is met, None if met else state
    if kind == "clear":
        return result is (state is not None), None
    if kind == "text":
        return result == (state[0] if state is not None and state[1] == given else None), state
    return result == state, state


def end_states(operations: Iterable[Operation], starts: Iterable[State]) -> set[State]:
    """Return every state the register can be in after ``operations``; none means: not linearizable.

    Args:
        operations: of one document; all have ended.
        starts: the states it can have been in before the first one started.
    """
    history = sorted(operations, key=lambda operation: operation.start)
    everything = (1 << len(history)) - 1
    ends: set[State] = set()
    visited: set[tuple[int, State]] = set()
    waiting: list[tuple[int, State]] = [(everything, state) for state in starts]
    while waiting:
        node = waiting.pop()
        if node in visited:
            continue
        visited.add(node)
        left, state = node
        if not left:
            ends.add(state)
            continue
        following = [(left & ~(1 << index), apply(state, history[index])) for index in _next(history, left)]
        allowed = [(rest, after) for rest, (legal, after) in following if legal]
        # What changes nothing and fits now can always come first: it takes no later choice away.
        idle = [each for each in allowed if each[1] == state]
        waiting += idle[:1] or allowed
    return ends


def _next(history: Sequence[Operation], left: int) -> list[int]:
    """Return which of the operations ``left`` may come first: those that started before any of them had ended."""
    indices = [index for index in range(len(history)) if left >> index & 1]
    first_end = min(history[index].end for index in indices)
    return [index for index in indices if history[index].start <= first_end]


def stale_reads(operations: Sequence[Operation]) -> list[Operation]:
    """Return the reads that did not see an acknowledged change; a second opinion that needs no search.

    A read is stale if its version was replaced or deleted, or its absence ended, by a change that began after the
    version was written (the document deleted) and had ended before the read began.
    """
    puts = {each.given: each for each in operations if each.kind == "put"}
    changes = [
        each for each in operations if each.kind == "put" or (each.kind in ("delete", "clear") and each.result)
    ]
    stale = []
    for read in operations:
        if read.kind != "see":
            continue
        before = [each for each in changes if each.end < read.start]
        if isinstance(read.result, tuple):
            written = puts.get(read.result[0])
            if any(written is not None and written.end < each.start for each in before):
                stale.append(read)
        else:
            written = max((each for each in before if each.kind == "put"), key=lambda each: each.end, default=None)
            if written and not any(
                each.kind != "put" and each.end > written.start and each.start < read.end for each in changes
            ):
                stale.append(read)
    return stale


def _changed(operation: Operation) -> bool:
    if operation.kind == "put":
        return isinstance(operation.result, tuple) and operation.result[0] != "unchanged"
    return operation.kind in ("delete", "clear") and operation.result is True
