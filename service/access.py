"""Who calls and how far they reach: scopes, callers, and what each route demands.

A collection is a tenant. A key reaches all collections or those it names, and nothing that belongs to another can be
told from what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType


class Scope(IntEnum):
    """What a caller may do; each includes the ones before."""

    PUBLIC = 0
    """Demanded of no one: liveness, readiness, the page itself."""
    READ = 1
    WRITE = 2
    ADMIN = 3
    """Sees the service as a whole, across collections: figures for monitoring."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        id: the key's public id; "" for everyone while no keys exist.
        scope: the most they may do.
        collections: the ones they reach; ``None``: all.
    """

    id: str
    scope: Scope
    collections: frozenset[str] | None = None

    def reaches(self, collection: str) -> bool:
        """Say whether a collection is theirs to use."""
        return self.collections is None or collection in self.collections


NOBODY = Caller("", Scope.PUBLIC, frozenset())
"""Who has shown no key though keys exist; enough for what is public."""
EVERYBODY = Caller("", Scope.ADMIN)
"""Whoever reaches a service that listens on this machine alone and has no keys."""

POLICIES: Mapping[tuple[str, str], Scope] = MappingProxyType({
    ("GET", "/"): Scope.PUBLIC,
    ("GET", "/static"): Scope.PUBLIC,
    ("GET", "/healthz"): Scope.PUBLIC,
    ("GET", "/readyz"): Scope.PUBLIC,
    ("GET", "/openapi.json"): Scope.PUBLIC,
    ("GET", "/metrics"): Scope.ADMIN,
    ("POST", "/v1/ask"): Scope.READ,
    ("POST", "/v1/ask/batch"): Scope.READ,
    ("POST", "/v1/search"): Scope.READ,
    ("POST", "/v1/chat/completions"): Scope.READ,
    ("GET", "/v1/models"): Scope.READ,
    ("GET", "/mcp"): Scope.READ,
    ("POST", "/mcp"): Scope.READ,
    ("POST", "/v1/citations/verify"): Scope.READ,
    ("GET", "/v1/documents"): Scope.READ,
    ("GET", "/v1/documents/{document_id}"): Scope.READ,
    ("GET", "/v1/documents/{document_id}/text"): Scope.READ,
    ("GET", "/v1/documents/{document_id}/original"): Scope.READ,
    ("POST", "/v1/documents"): Scope.WRITE,
    ("POST", "/v1/documents/delete"): Scope.WRITE,
    ("DELETE", "/v1/documents/{document_id}"): Scope.WRITE,
})  # fmt: skip
"""The scope every route demands. A route that is not here, or a line here without a route, fails the start."""


def undeclared(routes: Iterable[tuple[str, str]]) -> list[str]:
    """Return what routes and policies do not agree on; nothing is to be served unless this is empty.

    Args:
        routes: method and path template of every route there is.
    """
    there = set(routes)
    return sorted(
        [f"{method} {path}: no policy" for method, path in there - POLICIES.keys()]
        + [f"{method} {path}: no route" for method, path in POLICIES.keys() - there]
    )
