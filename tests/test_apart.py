"""Long texts are cut in another process: with the same result, and Python left to others meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from index import apart
from index.apart import LONG, cut_apart, pack, unpack
from index.chunk import cut
from index.errors import DataDamaged, DocumentRejected
from index.records import Cut
from index.sandbox import Limits, Sandbox

SENTENCES = (
    "Die Fähre fährt um zwölf ab. ", "It takes bicycles, too.\n\n", "«Quoted» ", "z. B. am 3. Mai\n",
    "数据库保存文件。", "😀 ",
)  # fmt: skip


def text(seed: int, characters: int = 2 * LONG) -> str:
    draw = random.Random(seed)
    pieces: list[str] = []
    while sum(map(len, pieces)) < characters:
        pieces.append(draw.choice(SENTENCES))
    return "".join(pieces)


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """End the process with the test."""
    yield
    if apart._made is not None:
        apart._made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the other process was asked."""
    kinds: list[str] = []
    ask = Sandbox.ask

    def noted(box: Sandbox, kind: str, data: bytes) -> bytes:
        kinds.append(kind)
        return ask(box, kind, data)

    monkeypatch.setattr(Sandbox, "ask", noted)
    return kinds


@pytest.mark.parametrize("size", [400, 1200])
def test_the_other_process_cuts_as_this_one(asked: list[str], size: int) -> None:
    for seed in range(3):
        print("seed", seed)
        whole = text(seed)
        assert cut_apart(whole, "de", size) == cut(whole, "de", size)
    assert asked == ["cut"] * 3
    short = text(4, 1000)
    assert cut_apart(short, "de", size) == cut(short, "de", size)
    assert len(asked) == 3


def test_what_the_other_process_does_not_manage_is_cut_here(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = text(5)
    tight = Sandbox(workers=1, limits=Limits(cpu_seconds=1, wall_factor=3, memory=2**20))  # too little to begin
    monkeypatch.setattr(apart, "_process", lambda: tight)
    with pytest.raises(DocumentRejected):
        tight.ask("cut", apart.pack_request(whole, "de", 1200))
    assert cut_apart(whole, "de") == cut(whole, "de")
    tight.close()


def _shuffled(numbers: list[int]) -> None:
    numbers[1], numbers[2] = numbers[2], numbers[1]


def _beyond(numbers: list[int]) -> None:
    numbers[-1] += 10**6


def _overlapping(numbers: list[int]) -> None:
    numbers[3] = 0 if numbers[1] else numbers[4] + 10


def _too_many(numbers: list[int]) -> None:
    numbers[0] += 10**6


def _nothing(numbers: list[int]) -> None:
    numbers.clear()


@pytest.mark.parametrize("harm", [None, _shuffled, _beyond, _overlapping, _too_many, _nothing])
def test_an_answer_is_looked_at_before_it_is_believed(harm: Callable[[list[int]], None] | None) -> None:
    """An answer that is left as it is, the null control, is believed."""
    from array import array

    whole = text(6, 3000)
    made = cut(whole, "de")
    numbers = array("I", pack(made)).tolist()
    if harm is None:
        assert unpack(pack(made), len(whole)) == made
        return
    harm(numbers)
    with pytest.raises(DataDamaged):
        unpack(array("I", numbers).tobytes(), len(whole))


@pytest.mark.parametrize("bytes_", [b"abc", b"", b"\0" * 7])
def test_no_answer_at_all_is_not_believed(bytes_: bytes) -> None:
    with pytest.raises(DataDamaged):
        unpack(bytes_, 100)


def _python_used(work: Callable[[], Cut]) -> float:
    """Return the processor seconds that this process spends on it."""
    began = time.process_time()
    work()
    return time.process_time() - began


def test_python_is_left_to_others_meanwhile() -> None:
    """The null control cuts here."""
    whole = text(7, 10 * LONG)
    cut_apart(whole, "de")
    assert _python_used(lambda: cut_apart(whole, "de")) < 0.5 * _python_used(lambda: cut(whole, "de"))


def test_one_text_is_cut_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[Cut] = []
    wholes = [text(seed) for seed in (8, 9, 10)]
    threads = [threading.Thread(target=lambda each=each: results.append(cut_apart(each, "de"))) for each in wholes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert apart._made is not None
    assert len(apart._made._idle) == 1
    assert {len(result.passages) for result in results} == {len(cut(each, "de").passages) for each in wholes}
