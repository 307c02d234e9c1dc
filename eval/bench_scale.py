"""A large library: opening, rebuilding, adding, searching, memory, and an import that is killed in the middle.

    python -m eval.bench_scale [--passages 100000] [--folder FOLDER] [--profile]

Every step runs in a process of its own. The documents are made up: passages of five sentences of random words. Their
vectors are made up too (a cone of themes around the model's own mean, as e5 makes them) and so are their token
states, of which there are only eight a passage, to keep the disk small. Questions, and the documents that are added
while time is taken, go through the real model. Results go to eval/results/scale.json.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.bench_serving import questions
from eval.run import provenance
from index import Encoder, EncoderInfo, Library, Options, RawDocument, Vectors, document_from_text, open_encoder
from index.chunk import PASSAGE_CHARACTERS, cut
from index.encoder import EncodedPassages, EncodedQuery, TokenStates

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "scale.json"

PASSAGES_A_DOCUMENT, SENTENCES_A_PASSAGE, STATES_A_PASSAGE = 50, 5, 8
DOCUMENTS_AT_ONCE = 20
KILLED_IMPORT_PASSAGES = 5_000
SEARCHES, ADDITIONS = 200, 20
LIMITS = {
    "rebuild_seconds": 10.0,
    "open_seconds": 5.0,
    "add_milliseconds_p50": 300.0,
    "embedded_again": 0.0,
}
"""Resident memory has a limit that depends on the index: see :func:`verdicts`."""

ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
"""As the service sets it, which must be before NumPy is imported."""

Report = dict[str, Any]


class MadeUpEncoder:
    """The real model for questions; for passages and sentences random vectors that are spread like its own."""

    def __init__(self, real: Encoder) -> None:
        self._real = real
        self.info: EncoderInfo = real.info
        self.centre: Vectors | None = real.centre
        self.passages_embedded = 0
        shape = np.random.default_rng(0)
        themes = shape.standard_normal((2_000, self.info.dimension)).astype(np.float32)
        self._themes = themes / np.linalg.norm(themes, axis=1, keepdims=True)

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Embed questions with the real model."""
        return self._real.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """Make up the vectors of passages; the same texts always get the same ones."""
        self.passages_embedded += len(texts)
        random = _random(texts)
        shape = (len(texts), STATES_A_PASSAGE, max(self.info.token_dimension, 1))
        codes = random.integers(-127, 128, shape, np.int8)
        starts = [np.linspace(0, len(text) - 1, STATES_A_PASSAGE).astype(np.uint16) for text in texts]
        states = tuple(TokenStates(*pair) for pair in zip(codes, starts, strict=True))
        return EncodedPassages(self._vectors(random, len(texts), 0), states if self.info.token_dimension else ())

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """Make up the vectors of sentences."""
        return self._vectors(_random(texts), len(texts), 1)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Guess."""
        return [len(text) // 4 for text in texts]

    def _vectors(self, random: np.random.Generator, count: int, row: int) -> Vectors:
        common = self._themes[0] if self.centre is None else self.centre[row]
        noise = random.standard_normal((count, self.info.dimension)).astype(np.float32) / self.info.dimension**0.5
        own = self._themes[random.integers(0, len(self._themes), count)] + noise
        vectors = 0.73**0.5 * common / np.linalg.norm(common) + (0.27 / 2) ** 0.5 * own
        units: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return units


def _random(texts: Sequence[str]) -> np.random.Generator:
    return np.random.default_rng(list(blake2b("\0".join(texts).encode(), digest_size=16).digest()))


def made_up_documents(passages: int) -> Iterator[RawDocument]:
    """Return documents of 50 passages; always the same ones."""
    random = np.random.default_rng(1)
    letters = np.array(list("aeioubdfghklmnprstvw"))
    words = np.array(["".join(random.choice(letters, random.integers(4, 10))) for _ in range(5_000)])
    for number in range(-(-passages // PASSAGES_A_DOCUMENT)):
        count = min(PASSAGES_A_DOCUMENT, passages - number * PASSAGES_A_DOCUMENT)
        chosen = words[random.integers(0, len(words), (count, SENTENCES_A_PASSAGE, 20))]
        text = "\n\n".join(
            " ".join(" ".join(sentence).capitalize() + "." for sentence in paragraph) for paragraph in chosen.tolist()
        )
        source = f"made-up/{number:06}.txt"
        yield RawDocument(source, text, source, "en", sha256(text.encode()).hexdigest(), origin="made-up")


def real_documents(count: int) -> Iterator[RawDocument]:
    """Return new documents of about five passages, of shuffled sentences of the sample's texts."""
    random = np.random.default_rng(2)
    pool: list[str] = []
    for file in sorted((ROOT / "sample").iterdir()):
        text = file.read_text("utf-8")
        pool += [text[span.start : span.end] for group in cut(text, "en").sentences for span in group]
    pool = [sentence for sentence in pool if 60 <= len(sentence) <= 220 and "\n" not in sentence]
    for number in range(count):
        paragraphs = [f"Report zq{number}x." for _ in range(5)]
        for place in range(5):
            while len(paragraphs[place]) <= PASSAGE_CHARACTERS // 2:  # two of them do not fit into one passage
                paragraphs[place] += " " + str(random.choice(pool))
        yield document_from_text(f"added/{number}.txt", "\n\n".join(paragraphs))


# ---- steps: each runs in a process of its own and prints one JSON object --------------------------------


def import_step(data: Path, passages: int) -> Report:
    """Store the documents that are missing, then make them searchable."""
    encoder = MadeUpEncoder(open_encoder())
    with Library(data, encoder, writable=True) as library:
        started, done = time.perf_counter(), 0
        documents = made_up_documents(passages)
        while batch := list(islice(documents, DOCUMENTS_AT_ONCE)):
            library.store(batch)
            done += len(batch)
            _say(f"stored {done:,} of {-(-passages // PASSAGES_A_DOCUMENT):,} documents")
        stored = time.perf_counter()
        library.refresh()
        ended = time.perf_counter()
        counts = library.counts()
    return {
        "store_seconds": round(stored - started, 2),
        "refresh_seconds": round(ended - stored, 2),
        "passages_embedded": encoder.passages_embedded,
        "passages": counts.passages,
        "sentences": counts.sentences,
        "peak_megabytes": _memory("VmHWM"),
    }


def rebuild_step(data: Path, passages: int) -> Report:
    """Open without an index: it is built from the catalogue; then save it."""
    shutil.rmtree(data / "index", ignore_errors=True)
    encoder = MadeUpEncoder(open_encoder())
    started, spent = time.perf_counter(), time.process_time()
    with Library(data, encoder, writable=True) as library:
        opened, spent = time.perf_counter(), time.process_time() - spent
        library.refresh()
        saved = time.perf_counter()
        state = library.index_state()
    return {
        "rebuild_seconds": round(opened - started, 2),
        "rebuild_cpu_seconds": round(spent, 2),
        "save_seconds": round(saved - opened, 2),
        "saved": state.saved,
        "peak_megabytes": _memory("VmHWM"),
    }


def open_step(data: Path, passages: int) -> Report:
    """Open with an intact index."""
    encoder = MadeUpEncoder(open_encoder())
    started, spent = time.perf_counter(), time.process_time()
    with Library(data, encoder, writable=True) as library:
        opened, spent = time.perf_counter() - started, time.process_time() - spent
        problem = library.index_problem
    return {"open_seconds": round(opened, 2), "open_cpu_seconds": round(spent, 2), "index_problem": problem}


def add_step(data: Path, passages: int) -> Report:
    """Add documents one by one with the real model; each must be found once that returns."""
    encoder = open_encoder()
    seconds, embedding, missed = [], [], 0
    passages_each: list[int] = []
    spent = 0.0
    with Library(data, encoder, writable=True, options=Options(background=True)) as library:
        for number, document in enumerate(real_documents(ADDITIONS + 1)):
            library.search("Which report is it?", 10)
            started, before = time.perf_counter(), time.process_time()
            (added,) = library.add([document])
            seconds.append(time.perf_counter() - started)
            spent += time.process_time() - before
            texts, sentences = _pieces(document)
            started = time.perf_counter()
            encoder.encode_passages(texts)
            encoder.encode_sentences(sentences)
            embedding.append(time.perf_counter() - started)
            passages_each.append(added.document.passages)
            hits = library.search(texts[-1], 10).hits
            missed += all(hit.document.id != added.document.id for hit in hits)
            _say(f"added {number} of {ADDITIONS}")
    first, *rest = seconds
    return {
        "add_milliseconds_first": round(first * 1000, 1),
        **_percentiles("add_milliseconds", rest),
        **_percentiles("of_which_embedding_about", embedding[1:]),
        "passages_a_document_added": float(np.mean(passages_each)),
        "add_cpu_milliseconds_mean": round(spent / len(seconds) * 1000, 1),
        "added_but_not_found": missed,
    }


def search_step(data: Path, passages: int) -> Report:
    """Search many times; look at the memory before and after recall is measured on what was asked."""
    encoder = open_encoder()
    report: Report = {"resident_megabytes_model_alone": _memory("VmRSS")}
    with Library(data, encoder, writable=True) as library:
        report["resident_megabytes_opened"] = _memory("VmRSS")
        seconds, steps = [], []
        for question in questions(SEARCHES):
            started = time.perf_counter()
            steps.append(library.search(question, 10).timings_ms)
            seconds.append(time.perf_counter() - started)
        report |= _percentiles("search_milliseconds", seconds[1:])
        report["search_milliseconds_first"] = round(seconds[0] * 1000, 1)
        report["steps_milliseconds_p50"] = {
            name: round(float(np.median([step[name] for step in steps])), 2) for name in steps[0]
        }
        report["resident_megabytes"] = _memory("VmRSS")
        report["of_which_pages_of_files"] = _memory("RssFile")
        started = time.perf_counter()
        library.measure_recall()
        report["measuring_recall_seconds"] = round(time.perf_counter() - started, 2)
        report["resident_megabytes_after_measuring"] = _memory("VmRSS")
        state = library.index_state()
        report["index"] = {
            name: {"kind": each.kind, "vectors": each.vectors, "recall": each.recall, "effort": each.effort}
            for name, each in (("passages", state.passages), ("sentences", state.sentences))
        }
    newest = max((data / "index").glob("generation-*"))
    vectors = sum(file.stat().st_size for file in newest.glob("*.faiss"))
    return {**report, "index_megabytes": round(vectors / 2**20, 1)}


STEPS: dict[str, Callable[[Path, int], Report]] = {
    "import": import_step,
    "rebuild": rebuild_step,
    "open": open_step,
    "search": search_step,
    "add": add_step,
}


# ---- the whole -------------------------------------------------------------------------------------------


def run_step(name: str, data: Path, passages: int, *, profile: bool = False) -> Report:
    """Run one step in a fresh process and return what it measured."""
    _say(f"step: {name}")
    load = round(os.getloadavg()[0], 2)
    done = subprocess.run(  # noqa: S603
        _command(name, data, passages) + ["--profile"] * profile,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    report: Report = {**json.loads(done.stdout.splitlines()[-1]), "load_before": load}
    print(json.dumps({name: report}, indent=1), flush=True)
    return report


def killed_import(data: Path) -> Report:
    """Kill an import in the middle with SIGKILL and start it again: only what is missing may be embedded."""
    total = KILLED_IMPORT_PASSAGES // PASSAGES_A_DOCUMENT
    process = subprocess.Popen(  # noqa: S603
        _command("import", data, KILLED_IMPORT_PASSAGES),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    if process.stderr is None:
        raise RuntimeError("the import's stderr is not captured")
    with process:
        for line in process.stderr:
            if line.startswith("stored") and int(line.split()[1].replace(",", "")) >= total // 2:
                process.send_signal(signal.SIGKILL)
                break
    # What the dead process left is looked at by another one, so that the restart finds it as it was.
    copy = data.with_name("killed-copy")
    shutil.copytree(data, copy)
    survived = run_step("count", copy, KILLED_IMPORT_PASSAGES)["passages"]
    again = run_step("import", data, KILLED_IMPORT_PASSAGES)
    return {
        "passages": KILLED_IMPORT_PASSAGES,
        "survived_the_kill": survived,
        "embedded_by_the_restart": again["passages_embedded"],
        "embedded_again": survived + again["passages_embedded"] - again["passages"],
        "complete": again["passages"] == KILLED_IMPORT_PASSAGES,
        "exit_status_of_the_killed": process.returncode,
    }


def count_step(data: Path, passages: int) -> Report:
    """Count what a folder holds."""
    with Library(data, MadeUpEncoder(open_encoder()), writable=True) as library:
        return {"passages": library.counts().passages}


STEPS["count"] = count_step


def verdicts(report: Report) -> dict[str, dict[str, float | bool]]:
    """Compare with what is wanted."""
    memory = 1.25 * report["search"]["index_megabytes"] + 600
    flat = {key: value for step in report.values() if isinstance(step, dict) for key, value in step.items()}
    limits = {**LIMITS, "resident_megabytes": round(memory)}
    return {
        name: {"measured": flat[name], "limit": limit, "holds": bool(flat[name] <= limit)}
        for name, limit in limits.items()
    }


def measure_all(data: Path, passages: int, *, profile: bool) -> Report:
    """Run every step; the import only if the folder is new."""
    report: Report = {"killed_import": killed_import(data.with_name("killed"))}
    report["import"] = run_step("import", data, passages, profile=profile)
    for name in ("rebuild", "open", "search", "add"):
        report[name] = run_step(name, data, passages, profile=profile)
    report["catalogue_megabytes"] = round((data / "fundstelle.db").stat().st_size / 2**20)
    return report


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the data here, and use what is there")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        with _profiled() if options.profile else nullcontext():
            report = STEPS[options.step](options.folder, options.passages)
        print(json.dumps(report))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        data = (options.folder or Path(scratch)) / "data"
        shutil.rmtree(data.with_name("killed"), ignore_errors=True)
        shutil.rmtree(data.with_name("killed-copy"), ignore_errors=True)
        measured = measure_all(data, options.passages, profile=options.profile)
    report = {
        **provenance(),
        "passages": options.passages,
        "sentences_a_passage": SENTENCES_A_PASSAGE,
        "token_states_a_passage": STATES_A_PASSAGE,
        "cores": len(os.sched_getaffinity(0)),
        **measured,
        "verdicts": verdicts(measured),
    }
    print(json.dumps(report["verdicts"], indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


@contextmanager
def _profiled() -> Iterator[None]:
    profile = cProfile.Profile(time.process_time)  # what others do on the machine does not count
    profile.enable()
    yield
    profile.disable()
    for order in ("tottime", "cumtime"):
        pstats.Stats(profile, stream=sys.stderr).sort_stats(order).print_stats(25)


def _command(step: str, data: Path, passages: int) -> list[str]:
    own = [sys.executable, "-m", "eval.bench_scale", "--step", step]
    return [*own, "--folder", str(data), "--passages", str(passages)]


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    milliseconds: NDArray[np.float64] = np.array(seconds) * 1000
    return {f"{name}_p{each}": round(float(np.percentile(milliseconds, each)), 1) for each in (50, 95)}


def _pieces(document: RawDocument) -> tuple[list[str], list[str]]:
    found = cut(document.text, document.language)
    return [span.of(document.text) for span in found.passages], [
        span.of(document.text) for group in found.sentences for span in group
    ]


def _memory(name: str) -> int:
    """Return a figure of this process's memory in megabytes: resident now, the most ever, pages of files."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split(f"{name}:")[1].split()[0]) // 1024


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
