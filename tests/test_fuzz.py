"""F01, F03 and F04 in small, with null controls: calls as described, values and bytes of all kinds."""

from __future__ import annotations

import random

import pytest

from tests.security import described, raw_sockets, values


def drawn_seed() -> int:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return seed


def test_the_service_does_what_its_openapi_document_says() -> None:
    figures = described.run(3000, drawn_seed())
    assert figures["violations"] == 0, figures


@pytest.mark.parametrize(
    ("control", "kind", "paths", "noticed"),
    [
        ("fault", "open", ["/v1/search"], "ServerError"),
        ("anything", "open", ["/v1/search"], "AcceptedNegativeData"),
        ("methods", "open", ["/v1/documents"], "AllowHeaderMismatch"),
        ("no-keys", "keys", ["/v1/models"], "IgnoredAuth"),
        ("others", "keys", ["/v1/documents", "/v1/documents/{document_id}"], "ObjectLevelAuthorization"),
    ],
)
def test_a_service_that_does_something_else_is_noticed(
    control: str, kind: str, paths: list[str], noticed: str
) -> None:
    failures = described.run(2, 1, control, [kind], paths)["examples"]
    assert any(noticed in failure for failure in failures), failures


def test_streams_of_bytes_do_not_confuse_the_server() -> None:
    figures = raw_sockets.run(5000, drawn_seed())
    assert figures["violations"] == 0, figures


@pytest.mark.parametrize(
    ("control", "noticed"),
    [
        ("length", "the connection goes on"),
        ("both", "what was smuggled is executed"),
        ("swallow", "not all was answered"),
        ("patient", "the connection is not closed"),
        ("stumble", "500"),
        ("loud", "nobody caught"),
        ("roomy", "wrong head: accepted"),
    ],
)
def test_a_server_that_is_confused_is_noticed(control: str, noticed: str) -> None:
    examples = raw_sockets.run(150, 1, control)["examples"]
    assert any(noticed in example for example in examples), examples


def test_no_value_is_too_nasty() -> None:
    figures = values.run(1000, drawn_seed())
    assert figures["violations"] == 0, figures
    assert figures["trials"] == 1000
    assert min(figures["documents_read_again"], figures["quotes_checked"]) > 5


@pytest.mark.parametrize(
    ("control", "place", "noticed"),
    [
        ("unseen", "/v1/search query", "500"),
        ("composed", "/v1/documents text", "text came back as"),
        ("rounded", "/v1/documents metadata.year", "metadata came back as"),
        ("lenient", "/v1/ask question", "taken, though it is no JSON"),
    ],
)
def test_a_service_that_stumbles_over_a_value_is_noticed(control: str, place: str, noticed: str) -> None:
    assert values.run(500, 1, only=place)["violations"] == 0
    examples = values.run(500, 1, control, place)["examples"]
    assert any(noticed in example for example in examples), examples
