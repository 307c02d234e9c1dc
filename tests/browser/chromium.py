"""The page in a headless Chromium: starting it, serving to it, watching what it does."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, sync_playwright

from service.serving import configured

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
KNOWN_PATHS = re.compile(r"/|/static/[\w.]+|/v1/(ask|documents(/[^/]+(/text|/original)?)?)")
"""Everything the page has a reason to ask its own service for."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Lend a browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve ``app`` from a thread until the block ends; the address has no slash at its end."""
    server = uvicorn.Server(configured(app, "127.0.0.1", 0, log_level="error"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@dataclass
class Watch:
    """What must not happen, written down when it does."""

    address: str
    refusals: bool = False
    """Whether the service is meant to refuse; the browser writes each refusal to the console."""
    said: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions nobody caught."""
    foreign: list[str] = field(default_factory=list)
    """Requests to other places, or to the own service for something the page has no reason to ask for."""
    dialogs: list[str] = field(default_factory=list)
    ran: list[object] = field(default_factory=list)
    """Arguments of ``ran(...)``, which only a script in a text calls."""

    def wrong(self) -> dict[str, list[object]]:
        """Return everything that happened and should not have."""
        kinds: dict[str, list[object]] = {
            "said": [*self.said], "foreign": [*self.foreign], "dialogs": [*self.dialogs], "ran": self.ran
        }  # fmt: skip
        return {kind: seen for kind, seen in kinds.items() if seen}


def watch(context: BrowserContext, address: str) -> Watch:
    """Watch all pages that ``context`` opens from now on. Foreign requests are noted and never leave."""
    seen = Watch(address)

    def console(message: ConsoleMessage) -> None:
        refused = message.text.startswith("Failed to load resource: the server responded with a status of 4")
        if message.type in ("error", "warning") and not (refused and seen.refusals):
            seen.said.append(message.text)

    def dialog(shown: Dialog) -> None:
        seen.dialogs.append(f"{shown.type}: {shown.message}")
        shown.dismiss()

    def request(made: Request) -> None:
        place = urlsplit(made.url)
        own = made.url.startswith(f"{address}/") and KNOWN_PATHS.fullmatch(place.path)
        if not own:
            seen.foreign.append(made.url)

    def page(opened: Page) -> None:
        opened.on("console", console)
        opened.on("pageerror", lambda error: seen.said.append(str(error)))
        opened.on("dialog", dialog)

    context.on("page", page)
    context.on("request", request)
    context.expose_binding("ran", lambda _, *arguments: seen.ran.append(arguments))
    return seen


def ask(page: Page, question: str) -> None:
    """Type a question, send it, and wait for what comes of it."""
    page.evaluate("location.hash = '#ask'")
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")
    page.locator(".turn").last.and_(page.locator("[aria-busy=false]")).wait_for()
