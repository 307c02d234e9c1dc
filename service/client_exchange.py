"""One call of the client, from request to result: what is sent again, when, and what a failure is called.

Nothing here sends or sleeps. :func:`exchange` says what is to be done next and is told what came of it, so that the
client that blocks and the one that awaits behave alike.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

T = TypeVar("T")

CONNECT_SECONDS = 5.0
MOST_PAUSE = 30.0
"""Seconds; a service that wants a longer pause than this is believed, and the call fails at once."""
_FIRST_PAUSE = 0.5
_AGAIN = {429, 502, 503, 504}
"""Statuses that say "later": the service's own, and those of proxies before it."""
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNSAFE = re.compile(r"[^\x21-\x7e]")

CODES: dict[str, str] = {
    "unreachable": "No connection could be made, or it broke.",
    "timed_out": "The answer did not come in time.",
    "stream_broken": "The stream ended before the answer was whole.",
    "response_invalid": "What came back is not an answer of this service.",
}
"""Codes of this client's own, beside those of the service."""


class CallFailed(Exception):
    """A call that did not succeed: base of all that the client raises.

    Attributes:
        code: stable; one of the service's, or of ``CODES``.
        message: what happened.
        hint: what to do.
        status: of HTTP; ``None`` if no answer came.
        request_id: stands in the service's log.
        idempotency_key: of a change: send it again with this key, and it is not made twice.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        status: int | None = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(code, message, hint, status, request_id, idempotency_key)  # all of them, for pickle
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status
        self.request_id = request_id
        self.idempotency_key = idempotency_key

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip() + f" [{self.code}, request {self.request_id}]"


class Refused(CallFailed):
    """The service said no."""


class NotFound(Refused):
    """What was named does not exist, or not any more (404)."""


class NotReached(CallFailed):
    """No whole answer came. A change may have been made all the same."""


class NotUnderstood(CallFailed):
    """What came back is not an answer of this service: another program, or a proxy, or an incompatible version."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call.

    Attributes:
        read: makes the result from the response.
        repeats: whether it may be sent again after a failure.
        slow: whether it may take as long as a change may.
        gone_is_done: whether 404 means success once it was sent before: what was to be removed is gone.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str | int] = field(default_factory=dict)
    json: Any = None
    files: tuple[tuple[str, bytes], ...] = ()
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeats: bool = True
    slow: bool = False
    gone_is_done: bool = False

    def with_headers(self, **headers: str) -> Call[T]:
        """Return the same call with more headers."""
        return replace(self, headers={**self.headers, **headers})

    def request(self, client: httpx.Client | httpx.AsyncClient, timeout: httpx.Timeout) -> httpx.Request:
        """Return the request to send with ``client``."""
        content: dict[str, Any] = {} if self.json is None else {"json": self.json}
        if self.files:
            content = {"files": [("file", each) for each in self.files], "data": dict(self.form)}
        return client.build_request(
            self.method, self.path, params=self.params, headers=self.headers, timeout=timeout, **content
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds to wait before going on."""

    seconds: float


Outcome: TypeAlias = httpx.Response | httpx.HTTPError | None
"""What came of the last step: a response with its body read or a stream begun, a failure, or nothing of a pause."""


def exchange(
    call: Call[Any], retries: int, jitter: Callable[[], float] = random.random
) -> Generator[Call[Any] | Pause, Outcome, httpx.Response]:
    """Yield what is to be done, a call to send or a pause to make; return the response that is a success.

    Raises:
        CallFailed: if none comes.
    """
    attempts = retries + 1 if call.repeats else 1
    sent = False
    for attempt in range(1, attempts + 1):
        outcome = yield call
        if isinstance(outcome, httpx.Response):
            if outcome.is_success or (call.gone_is_done and sent and outcome.status_code == 404):
                return outcome
            pause = _pause_before_next(outcome, attempt, jitter)
            failure: CallFailed = refused(call, outcome)
            sent = sent or outcome.status_code in {502, 504}  # a proxy gave up; the service may not have
        else:
            assert outcome is not None  # noqa: S101 - a call has an outcome
            pause = _backoff(attempt, jitter) if isinstance(outcome, _BROKEN) else None
            failure = unreached(call, outcome)
            sent = sent or not isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if pause is None or attempt == attempts:
            raise failure from (None if isinstance(outcome, httpx.Response) else outcome)
        yield Pause(pause)
    raise AssertionError("the last attempt returns or raises")


def refused(call: Call[Any], response: httpx.Response) -> CallFailed:
    """Return what the service said no with; its body has been read."""
    status, identity = response.status_code, request_id(call, response)
    try:
        said = json.loads(response.content)["error"]
        code, message, hint = (str(said[name]) for name in ("code", "message", "hint"))
    except (ValueError, KeyError, TypeError):
        message = f"The answer has status {status} and not the form of this service."
        return NotUnderstood("response_invalid", message, _WHO_ANSWERS, status, identity, _key(call))
    kind = NotFound if status == 404 else Refused
    return kind(code, message, hint, status, identity, _key(call))


def unreached(call: Call[Any], error: Exception) -> NotReached:
    """Return what a failure of the connection is to the caller; of the error's own words, none can hold a secret."""
    late = isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout)
    code = "timed_out" if late else "unreachable"
    hint = "Give more time with 'timeout'." if late else "Check the address, and whether the service runs."
    return NotReached(code, CODES[code], hint, None, call.headers.get("X-Request-ID"), _key(call))


def understood(call: Call[T], response: httpx.Response) -> T:
    """Return the result of a success.

    Raises:
        NotUnderstood: if it is not an answer of this service.
    """
    try:
        return call.read(response)
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of a record
        why = str(error) if type(error) is ValueError else type(error).__name__
        message = f"{CODES['response_invalid']} {why}."
        identity = request_id(call, response)
        raise NotUnderstood(
            "response_invalid", message, _WHO_ANSWERS, response.status_code, identity, _key(call)
        ) from None


def request_id(call: Call[Any], response: httpx.Response) -> str | None:
    """Return what names the request in the service's log."""
    named: str | None = response.headers.get("X-Request-ID", call.headers.get("X-Request-ID"))
    return named


def clean_key(api_key: str | None) -> str | None:
    """Return a key as it is sent.

    Raises:
        ValueError: if it cannot be sent; the key itself is not in the message.
    """
    key = (api_key or "").strip()
    if _UNSAFE.search(key):
        raise ValueError("the API key has characters that no key has")
    return key or None


_WHO_ANSWERS = "Check that the address is that of a Fundstelle service."


def _key(call: Call[Any]) -> str | None:
    return call.headers.get("Idempotency-Key")


def _pause_before_next(response: httpx.Response, attempt: int, jitter: Callable[[], float]) -> float | None:
    """Return the seconds to wait, ``None`` if it is of no use."""
    asked = _retry_after(response.headers.get("Retry-After"))
    # 409 with a pause: the same change, sent before, is still being made.
    if response.status_code not in _AGAIN and not (response.status_code == 409 and asked is not None):
        return None
    if asked is None:
        return _backoff(attempt, jitter)
    return None if asked > MOST_PAUSE else asked + min(1.0, asked) * jitter() / 4


def _backoff(attempt: int, jitter: Callable[[], float]) -> float:
    return float(min(MOST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1)) * (0.5 + jitter() / 2))


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which may also be a date."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
