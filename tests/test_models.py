"""Another embedding model beside the present one: embedded, compared, put in its place in one step, or not."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.cases import Dataset
from eval.formats import read_dataset
from eval.gate import compare_models
from index import (
    AbsentEncoder,
    Encoder,
    FoundFile,
    Library,
    Options,
    Vectors,
    View,
    document_from_text,
    find_files,
    read_file,
    stored_model,
)
from index.encoder import EncodedPassages, EncodedQuery, TokenStates
from index.errors import FundstelleError, ModelMismatch, ModelNotPromoted, ModelUnavailable
from service.answer import AnswerPolicy
from service.reload import on_hangup
from tests.conftest import ROOT, TEXTS
from tests.tiny import TinyEncoder

Answers = list[tuple[str, int, float]]
Open = Callable[[Encoder], Library]
QUERIES = ("bridge repair costs", "nurses in the hospital", "flooded hops")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the test's data folder; it is closed at the end, or when it is opened again."""
    with ExitStack() as stack:

        def make(encoder: Encoder) -> Library:
            stack.close()
            options = Options(keep_generations=5)
            return stack.enter_context(Library(tmp_path / "data", encoder, writable=True, options=options))

        yield make


def fill(library: Library) -> None:
    library.add([document_from_text(source, text) for source, text in TEXTS.items()])


def answers(documents: Library | View) -> dict[str, Answers]:
    return {
        query: [
            (hit.document.source, hit.passage.span.start, round(hit.score, 6)) for hit in documents.search(query).hits
        ]
        for query in QUERIES
    }


# ---- changing ------------------------------------------------------------------------------------------------


def test_a_model_takes_over_and_gives_back(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    before, generation = answers(library), library.generation
    other, steps = TinyEncoder("other"), []
    library.change_model(other, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert other.texts_encoded == 3
    assert library.generation == generation + 1
    assert library.encoder is other
    assert answers(library) == before
    assert [model.name for model in library.catalogue.models()] == ["tiny", "other"], "the old vectors are kept"
    assert library.problems() == []
    back = TinyEncoder()
    library.change_model(back)
    assert back.texts_encoded == 0
    assert (library.generation, answers(library)) == (generation + 2, before)
    assert library.problems() == []
    again = opened(TinyEncoder())
    assert (again.index_problem, answers(again)) == ("", before), "the index of the model in use was saved"


def test_vectors_that_were_forgotten_are_made_again(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    library.change_model(TinyEncoder("other"))
    library.forget_other_models()
    assert [model.name for model in library.catalogue.models()] == ["other"]
    assert library.problems() == []
    before, back = answers(library), TinyEncoder()
    library.change_model(back)
    assert back.texts_encoded == 3, "null control: nothing was left of it"
    assert answers(library) == before
    assert library.problems() == []


def test_the_model_in_use_is_not_changed_to(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    same = TinyEncoder()
    library.change_model(same, lambda _present, _beside: pytest.fail("there is nothing to compare"))
    assert (library.generation, same.texts_encoded) == (1, 0)


def test_the_past_can_be_searched_with_the_new_model(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    before, generation = answers(library), library.generation
    library.add([document_from_text("bridge.txt", "The tunnel opens in May.")])
    library.change_model(TinyEncoder("other"))
    with library.view(generation) as past:
        assert answers(past) == before
        assert past.search("tunnel").hits[0].text != "The tunnel opens in May."


def test_an_empty_library_changes_its_model(opened: Open) -> None:
    library = opened(TinyEncoder())
    library.change_model(TinyEncoder("other"))
    fill(library)
    assert library.search("bridge", 1).hits[0].document.source == "bridge.txt"
    assert library.problems() == []
    opened(TinyEncoder("other"))


def test_only_the_model_in_use_opens_the_folder(opened: Open, tmp_path: Path) -> None:
    library = opened(TinyEncoder())
    fill(library)
    library.change_model(TinyEncoder("other"))
    library.close()
    stored = stored_model(tmp_path / "data")
    assert stored is not None
    assert (stored.name, stored.fingerprint) == ("other", "fingerprint-of-other")
    for writable in (True, False):
        with pytest.raises(ModelMismatch) as error:
            Library(tmp_path / "data", TinyEncoder(), writable=writable)
        assert "fundstelle model change" in str(error.value)
    assert stored_model(tmp_path / "absent") is None


def test_questions_go_on_while_models_take_turns(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    expected, stop = answers(library), threading.Event()
    problems: list[object] = []

    def read() -> None:
        while not stop.is_set():
            try:
                if (found := answers(library)) != expected:
                    problems.append(found)
            except Exception as error:
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for name in ("other", "tiny", "third", "other"):
            library.change_model(TinyEncoder(name))
    finally:
        stop.set()
        reader.join()
    assert not problems


class Interrupted(TinyEncoder):
    """Calls ``interrupt`` once, before the passages that come after the first ``after`` are embedded."""

    def __init__(self, name: str, after: int, interrupt: Callable[[], None]) -> None:
        super().__init__(name)
        self._after = after
        self._interrupt: Callable[[], None] | None = interrupt

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        if self.texts_encoded >= self._after and self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            interrupt()
        return super().encode_passages(texts)


def test_embedding_that_broke_off_goes_on_where_it_stopped(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)

    def fail() -> None:
        raise RuntimeError("the power went out")

    broken = Interrupted("other", 2, fail)
    with pytest.raises(RuntimeError):
        library.change_model(broken)
    assert (library.generation, library.encoder.info.name) == (1, "tiny")
    assert library.problems() == []
    library = opened(TinyEncoder())
    whole = TinyEncoder("other")
    library.change_model(whole)
    assert (broken.texts_encoded, whole.texts_encoded) == (2, 1)
    assert library.problems() == []


def test_a_document_that_was_embedded_with_the_old_model_is_embedded_again(opened: Open) -> None:
    """The model changes between embedding a document and storing it."""
    other = TinyEncoder("other")
    library = opened(Interrupted("tiny", 3, lambda: library.change_model(other)))
    fill(library)
    (added,) = library.add([document_from_text("late.txt", "A windmill turns.")])
    assert (added.outcome, library.encoder) == ("added", other)
    assert other.texts_encoded == 4
    assert library.search("windmill", 1).hits[0].document.source == "late.txt"
    assert library.problems() == []


# ---- the gate ------------------------------------------------------------------------------------------------


def test_the_gate_sees_both_sides(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    seen: list[object] = []

    def gate(present: View, beside: View) -> str:
        seen.append((present.encoder.info.name, beside.encoder.info.name))
        seen.append(answers(present) == answers(beside))
        seen.append(present.counts() == beside.counts())
        seen.append(present.generation == beside.generation == 1)
        return ""

    library.change_model(TinyEncoder("other"), gate)
    assert seen == [("tiny", "other"), True, True, True]
    assert library.encoder.info.name == "other"


def test_what_changes_while_the_gate_looks_is_there_afterwards(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)

    def gate(present: View, beside: View) -> str:
        before = answers(beside)
        library.add([document_from_text("windmill.txt", "A windmill turns.")])
        library.add([document_from_text("bridge.txt", "The tunnel opens in May.")])
        library.delete(next(d.id for d in present.documents(10)[0] if d.source == "harvest.txt"))
        assert answers(beside)["bridge repair costs"][0][0] == before["bridge repair costs"][0][0]
        return ""

    library.change_model(TinyEncoder("other"), gate)
    assert library.encoder.info.name == "other"
    assert library.search("windmill", 1).hits[0].document.source == "windmill.txt"
    assert library.search("tunnel", 1).hits[0].text == "The tunnel opens in May."
    assert "harvest.txt" not in [hit.document.source for hit in library.search("flooded hops").hits]
    assert library.counts().documents == 3
    assert library.problems() == []
    found = answers(library)
    assert answers(opened(TinyEncoder("other"))) == found


def test_what_the_gate_objects_to_changes_nothing(opened: Open) -> None:
    present = TinyEncoder()
    library = opened(present)
    fill(library)
    before, refused = answers(library), TinyEncoder("other")
    with pytest.raises(ModelNotPromoted) as error:
        library.change_model(refused, lambda _present, _beside: "hit@1 0.9 -> 0.1")
    assert "hit@1 0.9 -> 0.1" in str(error.value)
    assert (library.encoder, library.generation, answers(library)) == (present, 1, before)
    assert library.problems() == []
    library = opened(TinyEncoder())
    assert (library.generation, answers(library)) == (1, before)
    again = TinyEncoder("other")
    library.change_model(again)
    assert (refused.texts_encoded, again.texts_encoded) == (3, 0), "what was embedded is used by the next try"


def test_a_model_that_cannot_be_had_any_more_is_replaced(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    before, info = answers(library), library.encoder.info
    library = opened(AbsentEncoder(info.name, info.fingerprint, info.dimension))
    document = library.documents(1)[0][0]
    assert library.text(document.id) == TEXTS["bridge.txt"], "documents can be read without it"
    for refused in (lambda: library.search("bridge"), lambda: fill_other(library)):
        with pytest.raises(ModelUnavailable):
            refused()
    library.change_model(TinyEncoder("other"))
    assert answers(library) == before
    assert library.problems() == []


def fill_other(library: Library) -> None:
    library.add([document_from_text("other.txt", "A windmill turns.")])


def test_vectors_of_another_length_are_not_stored_under_a_known_model(opened: Open) -> None:
    """An encoder that does not do what it says is noticed before anything of it is used."""

    class Wrong(TinyEncoder):
        def _vectors(self, texts: Sequence[str]) -> Vectors:
            return super()._vectors(texts)[:, :32]

    library = opened(TinyEncoder())
    fill(library)
    before = answers(library)
    with pytest.raises(FundstelleError):
        library.change_model(Wrong("other"))
    assert (library.encoder.info.name, answers(library)) == ("tiny", before)
    assert library.problems() == [], "nothing of it was stored"


# ---- compared by what they answer ----------------------------------------------------------------------------


class Renamed:
    """The same model under another name."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        self._encoder = encoder
        self.info = replace(encoder.info, name=name, fingerprint=f"{encoder.info.fingerprint} {name}")

    @property
    def centre(self) -> Vectors | None:
        return self._encoder.centre

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        return self._encoder.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        return self._encoder.encode_passages(texts)

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_sentences(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._encoder.count_tokens(texts)


class Shuffled(Renamed):
    """A model that is of no use: the numbers of each passage's vectors stand in another order."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder, "shuffled")
        self._order = np.random.default_rng(1).permutation(encoder.info.dimension)

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        encoded = self._encoder.encode_passages(texts)
        states = (TokenStates(np.roll(each.codes, 1, axis=1), each.starts) for each in encoded.tokens)
        return EncodedPassages(encoded.vectors[:, self._order], tuple(states))

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_sentences(texts)[:, self._order]


BRIDGE_AND_MUSEUM = {"bridge-closure.txt", "bruecke-sperrung.txt", "museum-archiv.md", "museum-letters.md"}


@pytest.fixture(scope="module")
def few_cases() -> Dataset:
    """The cases about four of the sample's documents."""
    dataset = read_dataset(ROOT / "eval" / "data" / "sample.jsonl")
    chosen = [case for case in dataset.cases if case.gold and {g.source for g in case.gold} <= BRIDGE_AND_MUSEUM]
    assert len(chosen) == 8
    return replace(dataset, cases=tuple(chosen))


def test_a_model_that_answers_worse_is_not_promoted(opened: Open, e5: Encoder, few_cases: Dataset) -> None:
    library = opened(e5)
    files = [file for file in find_files([ROOT / "sample"]) if isinstance(file, FoundFile)]
    library.add([read_file(file) for file in files if file.source in BRIDGE_AND_MUSEUM])

    def gate(present: View, beside: View) -> str:
        return compare_models(few_cases, present, beside, AnswerPolicy())

    with pytest.raises(ModelNotPromoted) as error:
        library.change_model(Shuffled(e5), gate)
    assert "quote hit@1" in str(error.value)
    assert library.encoder is e5
    library.change_model(Renamed(e5, "renamed"), gate)  # null control: one that is as good is
    assert library.encoder.info.name == "renamed"


# ---- on a signal ---------------------------------------------------------------------------------------------


def hang_up() -> None:
    """Send the signal HUP to this process, by way of a thread of its own.

    pytest's faulthandler gives the main thread a stack for signals that is too small for the registers of processors
    with AMX, once the model has used them there: the kernel then ends the process.
    """
    sender = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGHUP))
    sender.start()
    sender.join()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_the_signal_begins_the_work_and_failures_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before = signal.getsignal(signal.SIGHUP)
    refusal = ModelNotPromoted("model_not_promoted", "It answers worse.")
    outcomes: list[Exception | None] = [None, RuntimeError("a bug"), refusal, None]
    done: list[Exception | None] = []

    def work() -> None:
        outcome = outcomes[len(done)]
        done.append(outcome)
        if outcome is not None:
            raise outcome

    with on_hangup(work):
        for number in range(1, 5):
            hang_up()
            wait_for(lambda number=number: len(done) == number)  # type: ignore[misc]
    assert done == outcomes
    assert signal.getsignal(signal.SIGHUP) == before
    wait_for(lambda: "model_not_promoted: It answers worse." in caplog.text)
    assert "a bug" in caplog.text


def test_work_that_was_asked_for_several_times_is_done_one_at_a_time() -> None:
    running, most, done = 0, 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
            done += 1

    with on_hangup(work, at_once=work):
        for _ in range(3):
            hang_up()
        wait_for(lambda: done == 4)
    assert most == 1


def test_a_model_is_changed_on_the_signal_while_questions_are_answered(opened: Open) -> None:
    library = opened(TinyEncoder())
    fill(library)
    before = answers(library)
    with on_hangup(lambda: library.change_model(TinyEncoder("other"))):
        hang_up()
        while library.encoder.info.name != "other":
            assert answers(library) == before
    assert answers(library) == before
