"""Ask a real text model the questions of the sample, end to end, and write down what became of its answers.

    python -m tests.writer.real_model http://127.0.0.1:8000/v1 gemma3-270m --save

Nothing is judged here. Whether a sentence that was shown is wrong, a person says: docs/results/writer/real-model.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from eval.formats import read_dataset
from index import Library, find_files, open_encoder, read_file
from index.load import FoundFile
from service.answer import answer_question
from service.breaker import Breaker
from service.llm import Endpoint, Messages
from service.outcome import Ended, Withheld, WrittenSentence
from service.writer import Writer

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "writer" / "real-model.json"


class Recording(Endpoint):
    """An endpoint that remembers what the model said last."""

    said = ""

    def complete(self, messages: Messages) -> Iterator[str]:
        """Yield the pieces of the answer as they come."""
        self.said = ""
        for piece in super().complete(messages):
            self.said += piece
            yield piece


def run(url: str, model: str, deadline: float, most: int) -> Iterator[dict[str, object]]:
    """Yield for each question that the sample answers what the model said and what of it was shown."""
    endpoint = Recording(url, model, None, deadline)
    writer = Writer(endpoint, breaker=Breaker(failures=10**6))
    files = [read_file(each) for each in find_files([ROOT / "sample"]) if isinstance(each, FoundFile)]
    with tempfile.TemporaryDirectory() as folder, Library(Path(folder), open_encoder(), writable=True) as library:
        library.add(files)
        asked = 0
        for case in read_dataset(ROOT / "eval" / "data" / "sample.jsonl").cases:
            answer = answer_question(library, case.question)
            if not answer.answerable or asked == most:
                continue
            asked += 1
            started = time.perf_counter()
            events = list(writer.write(answer.question, answer.citations, library.encoder))
            yield {
                "question": answer.question,
                "quotes": [each.quote for each in answer.citations],
                "said": endpoint.said,
                "shown": [[each.text, each.citations] for each in events if isinstance(each, WrittenSentence)],
                "withheld": [each.objection for each in events if isinstance(each, Withheld)],
                "problem": next(each.problem for each in events if isinstance(each, Ended)),
                "seconds": round(time.perf_counter() - started, 1),
            }
    writer.close()


def main() -> None:
    """Ask, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds")
    parser.add_argument("--most", type=int, default=40, help="questions")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    found: list[dict[str, object]] = []
    for each in run(given.url, given.model, given.deadline, given.most):
        print(json.dumps(each, ensure_ascii=False), flush=True)
        found.append(each)
        if given.save:
            RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
