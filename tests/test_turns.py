"""Work in turns: few at once, a bounded line, refusals at once; questions that go through the model together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from starlette.testclient import TestClient

from index import Library, document_from_text
from index.encoder import EncodedQuery
from service.access import EVERYBODY
from service.answer import AnswerPolicy
from service.app import build_app
from service.reach import Question, Reach
from service.refusals import ProtocolError
from service.routes import AppState
from service.together import Computing, Together
from service.turns import Turns
from tests.tiny import TinyEncoder


def test_few_at_once_a_bounded_line_and_refusals_at_once() -> None:
    async def scenario() -> None:
        turns, go = Turns("test", 2, 3, 10), threading.Event()
        running: list[int] = []
        most = 0

        def work() -> str:
            nonlocal most
            running.append(1)
            most = max(most, len(running))
            go.wait(10)
            running.pop()
            return "done"

        tasks = [asyncio.create_task(turns.run(work)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert (turns.line.running, turns.line.waiting, turns.full) == (2, 3, True)
        begun = time.perf_counter()
        with pytest.raises(ProtocolError) as refused:
            await turns.run(work)
        assert time.perf_counter() - begun < 0.05
        assert (refused.value.code, refused.value.headers) == ("overloaded", {"Retry-After": "1"})
        go.set()
        assert await asyncio.gather(*tasks) == ["done"] * 5
        assert most == 2
        assert (turns.line.running, turns.line.waiting, turns.line.refused) == (0, 0, 1)
        turns.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("patience", "most"), [(0.3, 30), (float("inf"), 30)])
def test_the_line_is_as_long_as_it_moves_fast(patience: float, most: int) -> None:
    """Without an end to patience, the null control, it is as long as it may be at all."""

    async def scenario() -> None:
        turns = Turns("test", 2, 100, 10, patience)
        lengths: list[int] = []
        tasks: list[asyncio.Task[None]] = []
        for _ in range(60):
            for _ in range(3):  # three times as many as can be done
                if not turns.full:
                    tasks.append(asyncio.create_task(turns.run(lambda: time.sleep(0.05))))
                    await asyncio.sleep(0)
            lengths.append(turns.line.waiting)
            await asyncio.sleep(0.025)
        assert (lengths[-1] <= most) is (patience < 1), lengths
        assert lengths[-1] >= 2, "as many as work at once may wait in any case"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        turns.close()

    asyncio.run(scenario())


def test_nobody_waits_for_ever_and_nothing_is_done_for_who_has_left() -> None:
    async def scenario() -> None:
        turns, go, done = Turns("test", 1, 5, 0.1), threading.Event(), []

        async def left() -> bool:
            return True

        first = asyncio.create_task(turns.run(lambda: go.wait(10)))
        await asyncio.sleep(0.02)
        with pytest.raises(ProtocolError) as expired:
            await turns.run(lambda: done.append("late"))
        assert expired.value.code == "deadline_exceeded"
        waiting = asyncio.create_task(turns.run(lambda: done.append("gone"), left))
        await asyncio.sleep(0.02)
        go.set()
        await first
        with pytest.raises(ProtocolError) as gone:
            await waiting
        assert gone.value.code == "client_gone"
        assert done == []
        assert (turns.line.expired, turns.line.abandoned, turns.line.running) == (1, 1, 0)
        assert await turns.run(lambda: "next") == "next"

    asyncio.run(scenario())


def test_a_failure_gives_the_turn_back() -> None:
    async def scenario() -> None:
        turns = Turns("test", 1, 1, 1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await turns.run(lambda: 1 / 0)
        assert await turns.run(lambda: 7) == 7

    asyncio.run(scenario())


class Counting(TinyEncoder):
    """Notes how many questions came at a time."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.seconds = seconds

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        self.sizes.append(len(texts))
        time.sleep(self.seconds)
        return super().encode_queries(texts)


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    results: list[object] = [None] * count

    def one(number: int) -> None:
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_questions_that_wait_go_together_and_each_gets_its_own() -> None:
    encoder, together = Counting(0.05), Together(most=8)
    results = in_threads(20, lambda number: together.encode(encoder, f"bridge {number}"))
    for number, result in enumerate(results):
        assert isinstance(result, EncodedQuery)
        (alone,) = TinyEncoder().encode_queries([f"bridge {number}"])
        assert np.array_equal(result.vector, alone.vector)
    assert sum(encoder.sizes) == together.questions == 20
    assert together.passes == len(encoder.sizes) < 10
    assert max(encoder.sizes) == 8
    assert Counting().encode_queries(["alone"])


def test_questions_of_two_models_do_not_mix() -> None:
    one, other, together = Counting(0.02), Counting(0.02), Together()
    in_threads(16, lambda number: together.encode(one if number % 2 else other, f"bridge {number}"))
    assert sum(one.sizes) == sum(other.sizes) == 8


def test_a_failing_model_fails_everyone_and_is_tried_again() -> None:
    class Failing(TinyEncoder):
        def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
            time.sleep(0.02)
            if "bad" in texts:
                raise RuntimeError("no")
            return super().encode_queries(texts)

    encoder, together = Failing(), Together()
    results = in_threads(6, lambda number: together.encode(encoder, "bad"))
    assert all(isinstance(result, RuntimeError) for result in results)
    assert isinstance(together.encode(encoder, "good"), EncodedQuery)


def test_many_questions_at_once_are_answered_as_one_by_one(open_library: Callable[..., Library]) -> None:
    library = open_library()
    words = [f"word{number}" for number in range(12)]
    library.add([document_from_text(f"{word}.txt", f"The {word} closes in October.") for word in words])
    policy = AnswerPolicy(min_confidence=0.0)
    reach = Reach(library, EVERYBODY, Computing())

    def ask(number: int) -> list[str]:
        answer = reach.ask(Question(f"When does {words[number % 12]} close?", "default"), policy)
        return [
            f"{citation.hit.document.source} {citation.quote} {citation.score:.6f}" for citation in answer.citations
        ]

    assert in_threads(48, ask) == [ask(number) for number in range(48)]


def test_the_service_refuses_when_its_line_is_full_and_stays_alive(open_library: Callable[..., Library]) -> None:
    library = open_library(encoder=Counting(0.3))
    library.add([document_from_text("bridge.txt", "The bridge closes in October.")])
    state = AppState(library, AnswerPolicy(min_confidence=0.0), questions=Turns("question", 1, 2, 10))
    with TestClient(build_app(state), base_url="http://localhost") as client:

        def ask(_: int) -> int:
            return client.post("/v1/ask", json={"question": "When does the bridge close?"}).status_code

        statuses = in_threads(8, ask)
        assert statuses.count(200) >= 3
        assert statuses.count(503) == 8 - statuses.count(200) > 0
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/ask", json={"question": "When does the bridge close?"}).status_code == 200
