"""The quality table on two tiny parallel articles: every step runs, nothing is judged by what it was fitted on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eval import bench_quality
from eval.bench_quality import TARGETS, Table, earned, measured, run_ablations, run_fold
from eval.fit_projection import Article, fit, observe
from index import Encoder
from index.openvino_encoder import OpenVinoEncoder
from index.projection import Projection

ARTICLES: dict[str, list[tuple[str, str, tuple[str, str], tuple[str, str]]]] = {
    "bridge": [
        (
            "Die Gerberbrücke wird im Oktober gesperrt. Ihre Reparatur kostet vier Millionen Euro.",
            "The Gerber bridge closes in October. Its repair costs four million euros.",
            ("Wie viel kostet die Reparatur der Brücke?", "What does the repair of the bridge cost?"),
            ("vier Millionen Euro", "four million euros"),
        ),
        (
            "Eine Fähre bringt Fußgänger über den Fluss. Sie legt alle zwanzig Minuten ab.",
            "A ferry carries people across the river. It leaves every twenty minutes.",
            ("Wie oft fährt die Fähre?", "How often does the ferry leave?"),
            ("alle zwanzig Minuten", "every twenty minutes"),
        ),
    ],
    "harvest": [
        (
            "Im Juni stand der Hopfen unter Wasser. Neunzehn Hektar sind verloren.",
            "In June the hops stood under water. Nineteen hectares are lost.",
            ("Wie viele Hektar Hopfen sind verloren?", "How many hectares of hops are lost?"),
            ("Neunzehn Hektar", "Nineteen hectares"),
        ),
        (
            "Die Imker klagen über wenig Honig. Viele Völker überlebten den Winter nicht.",
            "Beekeepers complain of little honey. Many colonies did not survive the winter.",
            ("Worüber klagen die Imker?", "What do the beekeepers complain of?"),
            ("wenig Honig", "little honey"),
        ),
    ],
}
LANGUAGES = ("de", "en")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The articles in the form of xquad-dev; ``gapped`` lacks each one's second paragraph."""
    made = tmp_path_factory.mktemp("tiny-dev")
    lines = []
    for article, paragraphs in ARTICLES.items():
        for column, language in enumerate(LANGUAGES):
            texts = [(german, english)[column] for german, english, _, _ in paragraphs]
            for corpus, kept in (("full", texts), ("gapped", texts[:1])):
                file = made / corpus / language / f"{article}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("\n\n".join(kept), "utf-8")
        for number, (_, _, questions, answers) in enumerate(paragraphs):
            full = {}
            for column, language in enumerate(LANGUAGES):
                text = (made / "full" / language / f"{article}.txt").read_text("utf-8")
                start = text.index(answers[column])
                full[language] = [start, start + len(answers[column])]
            asked = dict(zip(LANGUAGES, questions, strict=True)) | {"ru": questions[1]}
            gapped = full if number == 0 else dict.fromkeys(LANGUAGES)
            entry = {"id": f"{article}-{number}", "doc": article, "question": asked, "full": full, "gapped": gapped}
            lines.append(json.dumps(entry))
    (made / "questions.jsonl").write_text("\n".join(lines), "utf-8")
    return made


@pytest.mark.slow
def test_every_row_of_the_table_is_measured(folder: Path, e5: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(e5, OpenVinoEncoder)
    fitted_on: list[int] = []

    def watched(articles: Sequence[Article], folded: NDArray[np.int64]) -> Projection:
        fitted_on.append(len(articles))
        return fit(articles, folded)

    monkeypatch.setattr(bench_quality, "fit", watched)
    seen = observe(folder, e5)
    table, switched = Table(), Table()
    for article in sorted(seen):
        run_fold(folder, e5, seen, {article}, table)
        run_ablations(folder, e5, seen, {article}, switched)
    assert set(fitted_on) == {1}, "the article asked about is not among those fitted on"
    figures = {name: measured(records) for name, records in table.records.items()}
    for target in TARGETS:
        assert figures[target.records][target.measure].value is not None, target.name
    assert {record.group for record in table.records["full en->de"]} == set(ARTICLES)
    assert figures["full en->de"]["citation validity"].value == 1
    assert figures["full en->de"]["hit@5"].value == 1
    without = earned(switched)["no late interaction"]
    assert without["hit@1"]["value"] <= 1
    assert all(len(records) == 4 for records in switched.records.values())
