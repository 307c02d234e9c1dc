"""Stands before everything else: hosts, origins, keys, scopes and rates are checked before a body is read.

The route is looked up as the application looks it up, from the path alone, never from the Host header. Whatever is
refused here has touched neither model nor index nor disk, but for the file of keys.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from index.errors import FundstelleError, SettingsRejected
from service.access import EVERYBODY, NOBODY, POLICIES, Caller, Scope, undeclared
from service.limits import FAILURES, RateLimit
from service.logs import REQUEST
from service.refusals import ProtocolError, refusal_of
from service.turns import Turns

CALLER = "fundstelle.caller"
"""Where a connection's scope names its caller."""

_LOCAL_NAMES = frozenset({"localhost"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?\Z")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

_NO_LINES: Mapping[tuple[str, str], Turns] = MappingProxyType({})

_log = logging.getLogger("fundstelle.access")


class Keys(Protocol):
    """What is asked of a ring of keys; see :class:`service.keys.KeyRing`."""

    def required(self) -> bool:
        """Say whether there are keys, so that one is needed."""

    def caller(self, secret: str) -> Caller | None:
        """Return whose key this is, if it opens anything."""


class NoKeys:
    """Where there are no keys."""

    def required(self) -> bool:
        """Say that none is needed."""
        return False

    def caller(self, secret: str) -> Caller | None:
        """Return that it is nobody's."""
        return None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whom to let in.

    Attributes:
        keys: who may call; while there are none, everybody who reaches the service.
        hosts: names of this service that a Host header may have besides addresses and "localhost".
        origins: pages of other origins that may change something, as ``https://example.org``.
        rate: of requests, for each key, or each address while there are no keys.
    """

    keys: Keys = field(default_factory=NoKeys)
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    rate: RateLimit = field(default_factory=lambda: RateLimit(""))


class Guard:
    """Lets a request pass to ``app``, or answers it.

    Args:
        app: the application, with all that reads bodies.
        routes: every route of it.
        admission: whom to let in.
        lines: where requests to a route wait; if the line is full, they are refused here, which costs least.

    Raises:
        SettingsRejected: if a route has no policy, or a policy no route.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        admission: Admission,
        lines: Mapping[tuple[str, str], Turns] = _NO_LINES,
    ) -> None:
        self.app = app
        self._routes = list(_flat(routes))
        if problems := undeclared(declared(self._routes)):
            raise SettingsRejected("settings_invalid", f"Routes and policies differ: {'; '.join(problems)}.")
        self._admission = admission
        self._lines = lines
        self._failures = RateLimit(FAILURES)
        # Most requests are for addresses that are written as they stand: to look at every route would take longer
        # than all else that is done for one who is refused.
        self._known = {
            entry: self._searched({"type": "http", "method": entry[0], "path": entry[1], "headers": []})
            for entry in declared(self._routes)
            if "{" not in entry[1]
        }

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks anything else
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        named = headers.get("x-request-id", "")
        identity = named if _REQUEST_ID.match(named) else secrets.token_hex(8)
        token = REQUEST.set(identity)
        begun, status = time.perf_counter(), 0
        scope[CALLER] = NOBODY
        route = self._route(scope)

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["X-Request-ID"] = identity
                if status == 405:
                    answered["Allow"] = ", ".join(self._methods(scope))
            await send(message)

        try:
            scope[CALLER] = self._admit(scope, headers, route)
        except (ProtocolError, FundstelleError) as error:
            await refusal_of(error)(scope, receive, marked)
        else:
            await self.app(scope, receive, marked)
        finally:
            self._note(scope, route, status, time.perf_counter() - begun)
            REQUEST.reset(token)

    def _note(self, scope: Connection, route: tuple[str, str] | None, status: int, seconds: float) -> None:
        if route is not None and POLICIES[route] is Scope.PUBLIC and status < 400:
            return  # whoever watches asks every few seconds
        said = {
            "method": scope["method"] if scope["method"] in _METHODS else "?",
            "route": route[1] if route else "?",
            "status": status or "gone",
            "milliseconds": round(seconds * 1000, 1),
            "key": scope[CALLER].id,
        }
        _log.info("request", extra=said)

    def _admit(self, scope: Connection, headers: Headers, route: tuple[str, str] | None) -> Caller:
        """Return who calls.

        Raises:
            ProtocolError: if they may not.
        """
        self._check_host(headers)
        if route is None:  # the application says 404 or 405, without reading a body
            return NOBODY
        needed = POLICIES[route]
        if scope["method"] not in _READING:
            self._check_origin(headers)
        if needed is Scope.PUBLIC:
            return NOBODY
        address = scope["client"][0] if scope.get("client") else ""
        caller = self._identify(headers, address)
        if caller.scope < needed:
            raise ProtocolError("scope_insufficient")
        who = caller.id or address
        if not self._admission.rate.allows(who):
            raise ProtocolError("rate_limited", {"Retry-After": str(self._admission.rate.retry_after(who))})
        line = self._lines.get(route)
        if line is not None and line.full:
            raise line.refuse()
        return caller

    def _check_host(self, headers: Headers) -> None:
        """Accept addresses and known names: a name that an attacker has pointed here is neither."""
        given = headers.getlist("host")
        match = _HOST.match(given[0]) if len(given) == 1 else None
        if match is None:
            raise ProtocolError("host_unknown")
        name = match["name"].lower()
        if name not in _LOCAL_NAMES and name not in self._admission.hosts and not _is_address(name):
            raise ProtocolError("host_unknown")

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what a page of another origin made a browser send."""
        origin = headers.get("origin")
        if origin is not None and origin in self._admission.origins:
            return
        foreign = origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower()
        if foreign or headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            raise ProtocolError("origin_forbidden")

    def _identify(self, headers: Headers, address: str) -> Caller:
        keys = self._admission.keys
        if not keys.required():
            return EVERYBODY
        given = headers.getlist("authorization")
        kind, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        caller = keys.caller(secret) if kind.lower() == "bearer" else None
        if caller is not None:
            return caller
        if not given:
            raise ProtocolError("key_missing", {"WWW-Authenticate": "Bearer"})
        # A right key is let in all the same: else anyone at an address could lock out everyone behind it.
        failures = self._failures
        if not failures.allows(address):
            wait = failures.retry_after(address)
            raise ProtocolError("rate_limited", {"Retry-After": str(wait)})
        raise ProtocolError("key_wrong", {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    def _route(self, scope: Connection) -> tuple[str, str] | None:
        known = (scope["method"], scope["path"])
        return self._known[known] if known in self._known else self._searched(scope)

    def _searched(self, scope: Connection) -> tuple[str, str] | None:
        for route in self._routes:
            matches, _ = route.matches(scope)
            if matches is Match.FULL:
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                return next((entry for entry in _declared(route) if entry[0] == method), None)
        return None

    def _methods(self, scope: Connection) -> list[str]:
        """Return what may be done at an address; the router names those of the first route of several."""
        there = [route for route in self._routes if route.matches(scope)[0] is not Match.NONE]
        literal = [route for route in there if getattr(route, "path", "") == scope["path"]]
        return sorted(
            {method for route in literal or there for method in getattr(route, "methods", None) or ("GET",)}
        )


def declared(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Yield method and path template of every route; HEAD is GET."""
    for route in _flat(routes):
        yield from _declared(route)


def _flat(routes: Sequence[BaseRoute]) -> Iterator[BaseRoute]:
    """Yield routes, those of FastAPI's included routers too; we give those no prefix."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from _flat(included.routes)


def _declared(route: BaseRoute) -> Iterator[tuple[str, str]]:
    if isinstance(route, Mount):
        yield "GET", route.path
    elif isinstance(route, Route):
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, route.path
    else:
        yield "?", repr(route)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
