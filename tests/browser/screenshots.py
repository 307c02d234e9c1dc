"""Take the pictures of the README anew: the page on the sample, with the embedded model.

    python -m tests.browser.screenshots

Some of the sample's articles are turned into PDF, Word and HTML first, so that the list shows formats.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page

from index import Library, RawDocument, document_from_bytes, open_encoder
from service.app import build_app
from service.routes import AppState
from tests.browser.chromium import ask, chromium, serving
from tests.files import article_of, as_bytes

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"
OTHERWISE = {
    "bridge-closure": ("pdf", "en"),
    "bruecke-sperrung": ("docx", "de"),
    "flood-railway": ("html", "en"),
    "hochwasser-hopfen": ("pdf", "de"),
}
"""Articles that are shown in another format, and their languages."""


def documents() -> list[RawDocument]:
    """Return the sample."""
    found = []
    for file in sorted((ROOT / "sample").iterdir()):
        name, data = file.name, file.read_bytes()
        if file.stem in OTHERWISE:
            kind, language = OTHERWISE[file.stem]
            article = article_of(data.decode("utf-8"))
            name, data = f"{file.stem}.{kind}", as_bytes(replace(article, language=language), kind)
        found.append(document_from_bytes(name, data))
    return found


def page_of(browser: Browser, address: str, scheme: str, width: int, height: int) -> Page:
    """Open the page in a look of its own."""
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
        reduced_motion="reduce",
        viewport={"width": width, "height": height},
    )
    page = context.new_page()
    page.goto(address)
    return page


def take(page: Page, name: str) -> None:
    """Save what the window shows."""
    page.mouse.move(2, 2)
    # A palette of 256 colours looks the same and needs a third of the space.
    Image.open(io.BytesIO(page.screenshot())).quantize(256).save(IMAGES / name, optimize=True)


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Library(Path(folder) / "data", open_encoder(), writable=True) as library,
        serving(build_app(AppState(library))) as address,
        chromium() as browser,
    ):
        library.add(documents())
        page = page_of(browser, address, "light", 1280, 800)
        ask(page, "what did Germany offer France?")
        page.locator(".place .chip").first.click()
        page.locator("#source-text mark").wait_for()
        take(page, "answer.png")

        page = page_of(browser, address, "light", 390, 720)
        ask(page, "At what temperature does nitrogen boil?")
        page.locator("#question").blur()
        take(page, "refusal.png")

        page = page_of(browser, address, "dark", 1000, 846)
        page.goto(f"{address}/#documents")
        files: list[FilePayload] = [
            {"name": name, "mimeType": "text/plain", "buffer": data}
            for name, data in (
                ("museum-letters.md", (ROOT / "sample" / "museum-letters.md").read_bytes()),
                ("empty.txt", b" "),
            )
        ]
        page.locator("#files").set_input_files(files)
        page.locator("#uploads .failed").wait_for()
        page.locator("#document-list li").nth(5).wait_for()
        take(page, "documents.png")


if __name__ == "__main__":
    main()
