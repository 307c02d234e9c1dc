from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import service.abstention
from index import Library, document_from_text
from index.errors import SettingsRejected
from service.abstention import FEATURES, Calibration, RiskPoint, confidence, features, load_calibration
from service.answer import make_policy
from service.evidence import find_evidence

STORED = json.loads((Path(service.abstention.__file__).parent / "calibration.json").read_text("utf-8"))


def test_the_shipped_calibration_is_whole_and_was_judged_on_unseen_articles() -> None:
    calibration = load_calibration()
    assert set(calibration.weights) == set(calibration.usual) == set(FEATURES)
    everything = STORED["leave_articles_out"]["all"]
    assert everything["AUROC answerable"] >= 0.85
    assert everything["calibration error"] <= 0.06


def test_features_have_their_names_and_say_when_they_cannot_be_told(
    library: Library, open_library: Callable[..., Library]
) -> None:
    hits = library.search("when does the bridge close?", 20).hits
    found = features(hits, find_evidence(hits))
    assert tuple(found) == FEATURES
    small = open_library("small")
    small.add([document_from_text("a.txt", "The bridge closes in October.")])
    hits = small.search("when does the bridge close?", 20).hits
    alone = features(hits, find_evidence(hits))
    assert alone["standout"] is None
    assert 0 <= confidence(hits, find_evidence(hits), load_calibration()) <= 1


def test_unmet_words_are_those_the_quote_lacks(library: Library) -> None:
    """A question in the document's own words is met; each foreign word adds its weight."""
    shares = []
    for question in ("The old bridge closes in October", "The old bridge closes in zanzibar", "zebra zeppelin"):
        hits = library.search(question, 20).hits
        shares.append(features(hits, find_evidence(hits))["unmet_words"])
    assert shares[0] == 0
    assert shares[1] == pytest.approx(1 / 6, abs=1e-6)
    assert shares[2] == pytest.approx(1, abs=1e-6)


def test_more_evidence_is_more_confidence(library: Library) -> None:
    weights = {**dict.fromkeys(FEATURES, 1.0), "unmet_words": -1.0}
    calibration = Calibration(-1.0, weights, dict.fromkeys(FEATURES, 0.0))
    good = library.search("when does the bridge close in October?", 20).hits
    bad = library.search("zebra zeppelin zucchini", 20).hits
    assert confidence(good, find_evidence(good), calibration) > confidence(bad, find_evidence(bad), calibration)
    assert confidence((), [], calibration) == 0.0


def test_the_operator_chooses_the_risk() -> None:
    """More confidence is asked for where less may be wrong; what was never measured is not promised."""
    calibration = load_calibration()
    loose, strict = calibration.confidence_for(0.3), calibration.confidence_for(0.1)
    assert 0 < loose < strict < 1
    for allowed, least in ((0.3, loose), (0.1, strict)):
        (point,) = [each for each in calibration.curve if each.confidence == least]
        assert point.risk <= allowed
    assert make_policy(None, 0.1).min_confidence == strict
    assert make_policy(0.7, None).min_confidence == 0.7
    assert make_policy(None, None).min_confidence == calibration.threshold
    with pytest.raises(SettingsRejected):
        make_policy(0.5, 0.1)
    with pytest.raises(SettingsRejected):
        Calibration(0, {}, {}, 0.5, (RiskPoint(0.5, 0.9, 0.2), RiskPoint(1, 0.1, 0.4))).confidence_for(0.1)


def test_better_evidence_never_lowers_confidence() -> None:
    """A weight of the wrong sign fits one set of questions and fails on the next."""
    weights = load_calibration().weights
    assert {name for name, weight in weights.items() if weight < 0} == {"unmet_words"}


def test_what_the_documents_cannot_say_is_refused(sample_library: Library) -> None:
    """Questions from another world are refused, the sample's plainest ones are not."""
    calibration = load_calibration()

    def asked(question: str) -> float:
        hits = sample_library.search(question, 20).hits
        return confidence(hits, find_evidence(hits[:5]), calibration)

    foreign = ["Who won the 2014 World Cup?", "Wie hoch ist der Mount Everest?", "asdf qwer zxcv"]
    plain = ["What did Germany offer France?", "Wann wird die Gerberbrücke gesperrt?"]
    assert max(map(asked, foreign)) < min(map(asked, plain))
