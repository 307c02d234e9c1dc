"""Headers that every response carries, and one form for refusals made below the application."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import PROTOCOL
from service.life import Life
from service.refusals import refusal

BY_STATUS = {
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "media_type_unsupported",
}
"""Refusals of the libraries below, which have a form of their own, by status."""

EVERYWHERE = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE = EVERYWHERE | {
    # Nothing from elsewhere, nothing inline, no HTML out of a string (trusted types), no form that leaves the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The page is many small files: all of them are of one version.
    "Cache-Control": "no-cache",
}
DATA = EVERYWHERE | {
    # Shown by a browser, whatever a document says does nothing.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}


class EveryResponse:
    """Adds the headers, and gives refusals of the libraries below the form of all others."""

    def __init__(self, app: ASGIApp, life: Life) -> None:
        self.app = app
        self._life = life

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_page = scope["path"] == "/" or scope["path"].startswith("/static/")
        replaced = False

        async def decorated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (PAGE if is_page else DATA).items():
                    headers.setdefault(name, value)
                if self._life.ending:  # the next request goes to another service
                    headers["Connection"] = "close"
            await send(message)

        async def look(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                status = message["status"]
                if status in BY_STATUS and not headers.get("content-type", "").startswith("application/json"):
                    replaced = True
                    kept = {name: headers[name] for name in ("allow", "x-request-id") if name in headers}
                    _, text, hint = PROTOCOL[BY_STATUS[status]]
                    await refusal(status, BY_STATUS[status], text, hint, kept)(scope, receive, decorated)
            if not replaced:
                await decorated(message)

        await self.app(scope, receive, look)
