"""The page's files as text: no way to make HTML of a string, nothing from elsewhere, both languages complete."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

STATIC = ROOT / "service" / "static"
SCRIPTS = {file.name: file.read_text("utf-8") for file in sorted(STATIC.glob("*.js"))}
STYLES = {file.name: file.read_text("utf-8") for file in sorted(STATIC.glob("*.css"))}
HTML = (STATIC / "index.html").read_text("utf-8")

SINKS = (
    r"innerHTML", r"outerHTML", r"insertAdjacentHTML", r"setHTML\w*", r"parseHTML\w*", r"document\.write\w*",
    r"\beval\b", r"\bFunction\s*\(", r"DOMParser", r"createContextualFragment", r"srcdoc", r"XSLTProcessor",
    r"trustedTypes",
    r"\.cssText", r"insertRule", r"setAttributeNS", r"createElementNS", r"\bon(click|load|error)\s*=",
    r"setAttribute\('style", r"\.style\b", r"set(Timeout|Interval)\(\s*['\"`]", r"\bimport\s*\(", r"postMessage",
    r"new (Worker|SharedWorker|WebSocket|EventSource)",
)  # fmt: skip
"""What turns a string into markup, code or style, or talks to anyone; none of it is used."""


def sinks(source: str) -> list[str]:
    code = re.sub(r"^\s*(//|\*|/\*).*$", "", source, flags=re.M)
    return [match[0] for sink in SINKS for match in re.finditer(sink, code)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_can_make_markup_or_code_of_a_string(name: str) -> None:
    assert sinks(SCRIPTS[name]) == []


@pytest.mark.parametrize(
    "line",
    [
        "made.innerHTML = title;", "document.write(x)", "el.insertAdjacentHTML('beforeend', x)", "eval(x)",
        "new Function(x)", "a.style.color = x", "await import(x)", "a.onclick = x", "setTimeout('x')",
        "document.parseHTMLUnsafe(x)",
    ],
)  # fmt: skip
def test_a_sink_is_reported(line: str) -> None:
    assert len(sinks(f"const a = 1;\n{line}\n")) == 1


def addresses(source: str) -> list[str]:
    """Return what looks like an address of another host."""
    return re.findall(
        r"(?:https?:|wss?:)?//(?=[\w-]+(?:\.[\w-]+)*[:/\s'\"])[\w.-]+", re.sub(r"^\s*//.*$", "", source, flags=re.M)
    )


def test_nothing_is_named_that_lies_elsewhere() -> None:
    for name, source in {**SCRIPTS, **STYLES, "index.html": HTML}.items():
        assert addresses(source) == [], name
        assert not re.search(r"url\(|@import|@font-face", source), name
    assert addresses("fetch('https://host.example/x')") == ["https://host.example"]
    assert addresses('<script src="//host.example/x.js">') == ["//host.example"]


def test_the_page_has_no_inline_code_or_style() -> None:
    assert re.findall(r"<script(?! type=\"module\" src=)|<style|\sstyle=|\son\w+=|javascript:", HTML) == []


def test_everything_imported_is_fetched_at_once() -> None:
    imported = {
        name
        for source in SCRIPTS.values()
        for name in re.findall(r"^\} from '\./(.+?)'|^import .* from '\./(.+?)'", source, re.M)
        for name in name
        if name
    }
    preloaded = set(re.findall(r'rel="modulepreload" href="/static/(.+?)"', HTML))
    assert preloaded == imported
    assert set(SCRIPTS) == imported | {"main.js", "records.js"}, "a module that nobody uses"
    assert set(STYLES) == set(re.findall(r'rel="stylesheet" href="/static/(.+?)"', HTML))


def test_modules_stay_small() -> None:
    longest = {name: len(source.splitlines()) for name, source in SCRIPTS.items() if name != "strings.js"}
    assert max(longest.values()) <= 260, longest


# ---- the strings ---------------------------------------------------------------------------------------------


def strings() -> dict[str, dict[str, object]]:
    """Read the table by its own syntax: plain literals only, so that it needs no JavaScript to be read."""
    source = re.sub(r"/\*\*.*?\*/", "", SCRIPTS["strings.js"], flags=re.S)
    tables = {}
    for language in ("en", "de"):
        (body,) = re.findall(rf"const {language} = (\{{.*?^\}});", source, re.S | re.M)
        text = re.sub(r"'((?:[^'\\]|\\.)*)'", lambda match: json.dumps(match[1]), body)
        text = re.sub(r"^(\s*|.*?[{,]\s*)(\w+):", r'\1"\2":', text, flags=re.M)
        while (quoted := re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', text)) != text:
            text = quoted
        tables[language] = json.loads(re.sub(r",(\s*[}\]])", r"\1", text))
    return tables


def flat(table: dict[str, object], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        items = {str(at): each for at, each in enumerate(value)} if isinstance(value, list) else value
        found |= flat(items, f"{prefix}{key}.") if isinstance(items, dict) else {f"{prefix}{key}": str(value)}
    return found


def differences(tables: dict[str, dict[str, object]]) -> list[str]:
    """Return what one language has and the other lacks: keys, placeholders, words at all."""
    en, de = flat(tables["en"]), flat(tables["de"])
    found = sorted(en.keys() ^ de.keys())
    for key in sorted(en.keys() & de.keys()):
        if sorted(re.findall(r"\{\w+\}", en[key])) != sorted(re.findall(r"\{\w+\}", de[key])):
            found.append(f"{key}: placeholders")
        if bool(en[key]) != bool(de[key]):
            found.append(f"{key}: empty")
    return found


def test_both_languages_say_the_same() -> None:
    tables = strings()
    assert len(flat(tables["en"])) > 100
    assert differences(tables) == []


def test_a_missing_word_is_reported() -> None:
    tables = strings()
    del tables["de"]["searching"]
    tables["de"]["searchedFor"] = "Gesucht"
    tables["en"]["failures"] = {"0": "x"}
    found = differences(tables)
    assert {"searching", "searchedFor: placeholders", "failures.404"} <= set(found)


def test_every_word_is_used_and_every_used_word_is_there() -> None:
    keys = set(strings()["en"])
    code = "\n".join(source for name, source in SCRIPTS.items() if name != "strings.js")
    in_html = set(re.findall(r'data-(?:text|label)="(\w+)"', HTML))
    in_code = set(re.findall(r"words\(\)\.(\w+)", code))
    in_code |= {
        name
        for taken in re.findall(r"const \{([^}]*)\} = words\(\)", code)
        for name in re.findall(r"(\w+)(?=:|,|\s*$)", taken)
        if name in keys
    }
    in_code |= set(re.findall(r"'(view\w+)'", code))
    assert in_html | in_code == keys


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{Path(name).stem}.mjs"
    file.write_text(SCRIPTS[name], "utf-8")
    done = subprocess.run(["node", "--check", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
