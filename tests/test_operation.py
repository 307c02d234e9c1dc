"""What those who run it look at: figures as they happen, the dashboard, the compose file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from index import Library, document_from_text
from service.answer import AnswerPolicy
from service.app import build_app
from service.routes import AppState
from tests.conftest import ROOT


@pytest.fixture
def metrics(open_library: Callable[..., Library]) -> str:
    """Figures of a service that has answered twice and refused once."""
    library = open_library()
    library.add([document_from_text("bridge.txt", "The bridge closes in October.")])
    state = AppState(library, AnswerPolicy(min_confidence=0.0))
    with TestClient(build_app(state), base_url="http://localhost") as client:
        for question in ("When does the bridge close?", "Is the bridge closed?"):
            assert client.post("/v1/ask", json={"question": question}).json()["answerable"]
        empty = {"question": "When?", "collection": "nothing"}
        assert not client.post("/v1/ask", json=empty).json()["answerable"]
        return client.get("/metrics").text


def test_what_happens_is_counted(metrics: str) -> None:
    assert 'fundstelle_answers_total{outcome="answered"} 2.0' in metrics
    assert 'fundstelle_answers_total{outcome="refused"} 1.0' in metrics
    for step in ("embed", "search", "rank", "total"):
        assert f'fundstelle_question_seconds_count{{step="{step}"}} 3.0' in metrics
    assert 'fundstelle_work_waiting{work="question"} 0.0' in metrics
    assert 'fundstelle_work_running{work="read"} 1.0' in metrics, "this very request"


def test_the_dashboard_asks_for_figures_that_there_are(metrics: str) -> None:
    dashboard: dict[str, Any] = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))
    expressions = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    asked = set(re.findall(r"fundstelle_\w+", expressions))
    there = set(re.findall(r"^(fundstelle_\w+)", metrics, re.M))
    assert len(asked) > 8
    assert asked <= there
    assert not {"fundstelle_dreams"} <= there
    for label, value in re.findall(r'(\w+)="(\w+)"', expressions):
        assert f'{label}="{value}"' in metrics
