"""Embedding cost and quality beside ``SentenceTransformer(...)`` on PyTorch float32, in one run.

    python -m eval.bench_embedding [--rounds 5]

Both embed the same texts with the same weights in turn; CPU-seconds are the process's, all threads. Quality
is the MRR of the right paragraph for each English question, over German paragraphs of ../shared/data/xquad-dev (the
project's sample where that is missing). Results go to eval/results/embedding.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.run import provenance
from index import find_files, model_path, open_encoder, read_file
from index.load import FoundFile

ROOT = Path(__file__).parent.parent
XQUAD = ROOT.parent / "shared" / "data" / "xquad-dev"
RESULTS = Path(__file__).parent / "results" / "embedding.json"


def paragraphs_and_questions() -> tuple[list[str], list[str], list[int]]:
    """Return paragraphs, questions, and the number of each question's right paragraph (empty for the sample)."""
    if not XQUAD.is_dir():
        found = [read_file(file) for file in find_files([ROOT / "sample"]) if isinstance(file, FoundFile)]
        paragraphs = [part for raw in found for part in raw.text.split("\n\n") if part.strip()]
        cases = (ROOT / "eval" / "data" / "sample.jsonl").read_text("utf-8").splitlines()
        return paragraphs, [json.loads(line)["question"] for line in cases], []
    paragraphs, places = [], []
    for file in sorted((XQUAD / "full" / "de").glob("*.txt")):
        text, offset = file.read_text("utf-8"), 0
        for line in text.split("\n"):
            if line.strip():
                paragraphs.append(line)
                places.append((file.stem, offset, offset + len(line)))
            offset += len(line) + 1
    questions, right = [], []
    for entry in map(json.loads, (XQUAD / "questions.jsonl").read_text("utf-8").splitlines()):
        start = entry["full"]["de"][0]
        questions.append(entry["question"]["en"])
        right.append(
            next(i for i, (doc, first, last) in enumerate(places) if doc == entry["doc"] and first <= start < last)
        )
    return paragraphs, questions, right


def mrr(questions: NDArray[np.float32], paragraphs: NDArray[np.float32], right: list[int]) -> float | None:
    """Mean reciprocal rank of the right paragraph among all; ``None`` without gold."""
    if not right:
        return None
    scores = questions @ paragraphs.T
    own = scores[np.arange(len(right)), right]
    ranks = 1 + (scores > own[:, None]).sum(1)
    return float(np.mean(1 / ranks))


def measured(work: Callable[[], NDArray[np.float32]]) -> tuple[NDArray[np.float32], float, float]:
    """Run once; return the result, CPU-seconds of all threads and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    models = os.environ.get("FUNDSTELLE_MODELS_DIR")
    folder = model_path(models=Path(models) if models else None)
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    reference = SentenceTransformer(str(folder), device="cpu")
    ours = open_encoder(str(folder), models=Path(models) if models else None)
    paragraphs, questions, right = paragraphs_and_questions()
    work: dict[str, dict[str, Callable[[], NDArray[np.float32]]]] = {
        "paragraphs": {
            "sentence-transformers": lambda: np.asarray(
                reference.encode_document(paragraphs, show_progress_bar=False)
            ),
            "fundstelle": lambda: ours.encode_sentences(paragraphs),
            "fundstelle with token states": lambda: ours.encode_passages(paragraphs).vectors,
        },
        "questions": {
            "sentence-transformers": lambda: np.asarray(reference.encode_query(questions, show_progress_bar=False)),
            "fundstelle": lambda: np.stack([query.vector for query in ours.encode_queries(questions)]),
        },
    }
    report: dict[str, object] = {**provenance(), "engine": ours.info.engine, "rounds": rounds}
    vectors: dict[tuple[str, str], NDArray[np.float32]] = {}
    for kind, engines in work.items():
        cpu: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(rounds + 1):  # the first turn warms up
            for name, run in engines.items():
                vectors[kind, name], seconds, _ = measured(run)
                if turn:
                    cpu[name].append(seconds)
        for name, seconds_each in cpu.items():
            ratios = [s / r for s, r in zip(seconds_each, cpu["sentence-transformers"], strict=True)]
            entry = {
                "cpu_seconds": [round(value, 2) for value in seconds_each],
                "ratio_median": round(float(np.median(ratios)), 3),
                "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
            }
            report[f"{kind}: {name}"] = entry
            print(f"{kind:11} {name:30} {entry}")
    for name in ("sentence-transformers", "fundstelle"):
        report[f"MRR: {name}"] = mrr(vectors["questions", name], vectors["paragraphs", name], right)
        print(f"MRR {name}: {report[f'MRR: {name}']}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
