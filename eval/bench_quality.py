"""The quality table: ``python -m eval.bench_quality ../shared/data/xquad-dev --seeds ../shared``.

Everything that was fitted is fitted again without the articles it is judged on: in each fold the constants of the
projection, the calibration and its threshold come from the other articles, and only questions on the fold's articles
are asked. The full corpus measures finding and quoting; the gapped one, whose articles lost two of five paragraphs,
measures refusing; German and English documents together, without the English copy of the article that is asked
about, measure whether a language buries another. Switched-off components, on the same questions and in the same run,
say what each of them earns. Results hold figures only, never text.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.cases import Case, Dataset
from eval.compare import compare_records
from eval.fit_abstention import calibrate, observe_all, scratch_library
from eval.fit_projection import Article, fit, observe
from eval.formats import read_dataset
from eval.measures import LOWER_IS_BETTER, MEASURES, RANKING, Outcomes, draw_groups, estimate
from eval.records import Estimate, Record
from eval.run import ask_all, measure_baseline, provenance, timings
from eval.systems import baselines
from index import Encoder, Library, Vectors, find_files, open_encoder, read_file
from index.encoder import EncodedPassages, EncodedQuery
from index.load import FoundFile
from index.openvino_encoder import OpenVinoEncoder
from index.projection import Projection
from index.search import Ranking
from service.answer import AnswerPolicy

FOLDS = 4
PAIRS = (("en", "de"), ("de", "de"), ("ru", "de"), ("en", "en"))
"""Question language, document language."""
RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Table:
    """Records by what was asked of what; folds add up."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    thresholds: list[float] = field(default_factory=list)

    def add(self, name: str, records: Sequence[Record]) -> None:
        """Add one fold's records."""
        self.records.setdefault(name, []).extend(records)


def run_fold(
    folder: Path, encoder: OpenVinoEncoder, seen: dict[str, Article], held_out: set[str], table: Table
) -> None:
    """Fit on all other articles, ask about those held out."""
    known = encoder.with_projection(_constants(encoder, seen, held_out))
    gapped = observe_all(folder, known)
    calibration, least = calibrate([each for each in gapped if each.article not in held_out])
    policy = AnswerPolicy(min_confidence=least, calibration=calibration)
    table.thresholds.append(least)
    for written in sorted({pair[1] for pair in PAIRS}):
        for corpus in ("full", "gapped"):
            with scratch_library(known, [folder / corpus / written]) as library:
                for asked in (pair[0] for pair in PAIRS if pair[1] == written):
                    cases = _held_out(folder, corpus, written, asked, held_out)
                    table.add(f"{corpus} {asked}->{written}", ask_all(Dataset("", tuple(cases)), library, policy))
    copies = [file for file in (folder / "full" / "en").glob("*.txt") if file.stem not in held_out]
    # Both languages name their files alike, so the English ones are added as a folder of another name.
    with scratch_library(known, [folder / "full" / "de"]) as library:
        _add_renamed(library, copies)
        cases = _held_out(folder, "full", "de", "en", held_out)
        table.add("mixed en->de", ask_all(Dataset("", tuple(cases)), library, policy))


def run_ablations(
    folder: Path, encoder: OpenVinoEncoder, seen: dict[str, Article], held_out: set[str], table: Table
) -> None:
    """Ask the fold's English questions of German articles with one component at a time switched off."""
    constants = _constants(encoder, seen, held_out)
    known = encoder.with_projection(constants)
    zero = np.zeros_like
    variants: dict[str, tuple[Encoder, Ranking]] = {
        "all": (known, Ranking()),
        "no late interaction": (WithoutTokens(known), Ranking()),
        "no sentence vectors in the score": (known, Ranking(sentence_weight=0.0)),
        "token states not centred": (
            encoder.with_projection(
                replace(
                    constants,
                    question_states=zero(constants.question_states),
                    passage_states=zero(constants.passage_states),
                )
            ),
            Ranking(),
        ),
        "vectors not centred": (Uncentred(known), Ranking()),
        "all words weigh the same": (
            encoder.with_projection(replace(constants, common_counts=zero(constants.common_counts))),
            Ranking(),
        ),
    }
    cases = _held_out(folder, "full", "de", "en", held_out)
    for name, (variant, ranking) in variants.items():
        with scratch_library(variant, [folder / "full" / "de"], ranking) as library:
            table.add(name, ask_all(Dataset("", tuple(cases)), library, AnswerPolicy()))


class WithoutTokens:
    """An encoder whose token states are gone."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.info = replace(encoder.info, token_dimension=0, fingerprint=f"{encoder.info.fingerprint} without tokens")

    @property
    def centre(self) -> Vectors | None:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.centre

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """See :class:`index.encoder.Encoder`."""
        queries = self._encoder.encode_queries(texts)
        return [replace(query, tokens=query.tokens[:0], weights=query.weights[:0]) for query in queries]

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """See :class:`index.encoder.Encoder`."""
        return EncodedPassages(self._encoder.encode_passages(texts).vectors, ())

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.encode_sentences(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.count_tokens(texts)


class Uncentred(WithoutTokens):
    """An encoder whose vectors keep what they have in common; its token states are as they were."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.info = replace(encoder.info, fingerprint=f"{encoder.info.fingerprint} uncentred")

    @property
    def centre(self) -> None:
        """See :class:`index.encoder.Encoder`."""
        return None

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """See :class:`index.encoder.Encoder`."""
        return [replace(query, centred=query.vector) for query in self._encoder.encode_queries(texts)]

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """See :class:`index.encoder.Encoder`."""
        return self._encoder.encode_passages(texts)


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table: a measure of some records, what it must be, what it aims at."""

    name: str
    records: str
    measure: str
    must: float
    aim: float

    def met(self, value: float) -> bool:
        """Whether ``value`` is what it must be."""
        return value <= self.must if self.measure in LOWER_IS_BETTER else value >= self.must


TARGETS = (
    Target("passage hit@1", "full en->de", "hit@1", 0.90, 0.95),
    Target("passage hit@5", "full en->de", "hit@5", 0.99, 0.998),
    Target("MRR@10", "full en->de", "MRR@10", 0.94, 0.97),
    Target("quote hit@1", "full en->de", "quote hit@1", 0.80, 0.92),
    Target("passage hit@1, Russian questions", "full ru->de", "hit@1", 0.87, 0.94),
    Target("passage hit@1, German questions", "full de->de", "hit@1", 0.95, 0.98),
    Target("refusal precision", "gapped en->de", "refusal precision", 0.85, 0.93),
    Target("refusal recall", "gapped en->de", "refusal recall", 0.85, 0.93),
    Target("calibration error", "gapped en->de", "calibration error", 0.06, 0.03),
    Target("hit@5 among English articles", "mixed en->de", "hit@5", 0.97, 0.99),
    *(
        Target(f"citation validity, {name}", name, "citation validity", 1.0, 1.0)
        for name in ("full en->de", "gapped en->de")
    ),
)


def measured(records: Sequence[Record]) -> dict[str, Estimate]:
    """Return every measure of some records, with intervals over articles."""
    outcomes, samples = Outcomes.of(records), draw_groups([record.group for record in records])
    return {name: estimate(measure, outcomes, samples) for name, measure in MEASURES.items()}


def earned(table: Table) -> dict[str, dict[str, dict[str, float]]]:
    """Return what each measure loses without a component: the paired difference with its interval."""
    whole = table.records["all"]
    return {name: difference(whole, records) for name, records in table.records.items() if name != "all"}


def beside(folder: Path, encoder: OpenVinoEncoder) -> dict[str, Any]:
    """Measure the trivial systems on the full German articles, asked in three languages."""
    with scratch_library(encoder, [folder / "full" / "de"]) as library:
        found: dict[str, Any] = {}
        systems = baselines(library)
        for asked in ("en", "de", "ru"):
            dataset = read_dataset(folder, documents="de", questions=[asked])
            measured_all = [measure_baseline(system, dataset, dataset.cases) for system in systems]
            found[f"full {asked}->de"] = {
                each.name: {name: asdict(value) for name, value in each.measures.items()} for each in measured_all
            }
        return found


def main() -> None:
    """Run all folds, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the form of xquad-dev")
    parser.add_argument("--seeds", type=Path, help="folder with seeds/ and data/seed-questions.jsonl")
    parser.add_argument("--no-ablations", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "quality.json")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    encoder = open_encoder()
    if not isinstance(encoder, OpenVinoEncoder):
        raise SystemExit("the embedded model is not active")
    seen = observe(folder, encoder)
    articles = sorted(seen)
    table, switched = Table(), Table()
    for fold in range(FOLDS):
        held_out = {name for number, name in enumerate(articles) if number % FOLDS == fold}
        print(f"fold {fold + 1} of {FOLDS}", flush=True)
        run_fold(folder, encoder, seen, held_out, table)
        if not arguments.no_ablations:
            run_ablations(folder, encoder, seen, held_out, switched)
    found = {name: measured(records) for name, records in table.records.items()}
    stored: dict[str, Any] = {
        **provenance(),
        "dataset": folder.name,
        "articles": len(articles),
        "folds": FOLDS,
        "engine": encoder.info.engine,
        "thresholds": [round(each, 4) for each in table.thresholds],
        "targets": [
            {"row": t.name, "must": t.must, "aim": t.aim, **asdict(found[t.records][t.measure])} for t in TARGETS
        ],
        "measures": {
            name: {measure: asdict(value) for measure, value in each.items()} for name, each in found.items()
        },
        "milliseconds": {name: asdict(step) for name, step in timings(table.records["full en->de"]).items()},
        "mixed against German alone": difference(table.records["full en->de"], table.records["mixed en->de"]),
        "ablations, full en->de": earned(switched) if switched.records else {},
        "baselines": beside(folder, encoder),
    }
    if arguments.seeds:
        stored["seeds"] = seeds(arguments.seeds, encoder)
    for line in lines(stored):
        print(line)
    arguments.out.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


def difference(old: Sequence[Record], new: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return new values and new minus old, paired, with intervals."""
    return {
        each.measure: {
            "value": round(each.new, 4),
            "difference": round(each.new - each.old, 4),
            "low": round(each.low, 4),
            "high": round(each.high, 4),
        }
        for each in compare_records(old, new).differences
        if each.measure in (*RANKING, "quote hit@1")
    }


def seeds(folder: Path, encoder: Encoder) -> dict[str, int | bool]:
    """Ask the seed questions with the shipped constants, calibration and threshold."""
    with scratch_library(encoder, [folder / "seeds"]) as library:
        records = ask_all(read_dataset(folder / "data" / "seed-questions.jsonl"), library, AnswerPolicy())
    answerable = [record for record in records if record.answerable]
    others = [record for record in records if not record.answerable]
    return {
        "answerable": len(answerable),
        "right passage first": sum(record.rank == 1 for record in answerable),
        "right first quote": sum(record.right for record in answerable),
        "answered with the right first quote": sum(record.right and record.answered for record in answerable),
        "first question's quote right": records[0].right,
        "unanswerable": len(others),
        "refused": sum(not record.answered for record in others),
    }


def lines(stored: dict[str, Any]) -> Iterator[str]:
    """Print the targets and what was switched off."""
    for target, row in zip(TARGETS, stored["targets"], strict=True):
        mark = "met" if target.met(row["value"]) else "MISSED"
        yield (
            f"{row['row']:34} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            f"  must {row['must']}  aim {row['aim']}  {mark}"
        )
    for name, losses in stored["ablations, full en->de"].items():
        parts = (f"{measure} {each['difference']:+.3f}" for measure, each in losses.items())
        yield f"{name:34} {'  '.join(parts)}"
    yield f"median milliseconds {stored['milliseconds']['total']['median']}"
    yield f"seeds {stored.get('seeds')}"


def _constants(encoder: OpenVinoEncoder, seen: dict[str, Article], held_out: set[str]) -> Projection:
    return fit([article for name, article in seen.items() if name not in held_out], encoder.folded_tokens())


def _held_out(folder: Path, corpus: str, written: str, asked: str, held_out: set[str]) -> list[Case]:
    cases = read_dataset(folder, corpus=corpus, documents=written, questions=[asked]).cases
    return [case for case in cases if case.group in held_out]


def _add_renamed(library: Library, files: Sequence[Path]) -> None:
    """Add files under other names than those of the same name that are there already."""
    documents = [read_file(found) for found in find_files(files) if isinstance(found, FoundFile)]
    library.add([replace(document, source=f"other/{document.source}") for document in documents])


if __name__ == "__main__":
    main()
