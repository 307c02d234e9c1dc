"""What the documents say is what the code does: names are read off the code, and compared both ways.

A name that the code has and its document lacks is reported, and a name that the document has and the code lacks. The
null control of every comparison is the same document with that name taken out, which has to be reported.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main

import index
from eval.formats import read_dataset
from eval.measures import MEASURES
from eval.records import Record, Report
from index.encoder import Encoder, default_models_folder
from index.errors import all_codes
from index.load import decode
from service import chat, schemas
from service.app import build_app
from service.cli import app
from service.errors import PROTOCOL, STATUS
from service.routes import AppState
from service.settings import CONFIG_VARIABLE, PREFIX, Settings
from service.tools import TOOLS
from tests.conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FIRST_SCREEN = 45  # lines


# ---- reading Markdown ----------------------------------------------------------------------------------------


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def fences(text: str, language: str = r"\w*") -> list[str]:
    """Return the fenced blocks of ``text`` that are marked with ``language``."""
    return re.findall(rf"^```(?:{language})\n(.*?)^```$", text, re.M | re.S)


def prose(text: str) -> str:
    """Return ``text`` without its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S)


def spans(text: str) -> list[str]:
    """Return the inline code of ``text``."""
    return re.findall(r"`([^`\n]+)`", prose(text))


def sections(text: str) -> dict[str, str]:
    """Return the bodies below headings of the second level, by heading without backticks."""
    parts = re.split(r"^## +(.+)$", text, flags=re.M)
    return {title.replace("`", "").strip(): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(text: str, header: str) -> list[list[str]]:
    """Return the rows of all tables whose first column is headed ``header``."""
    found: list[list[str]] = []
    inside = False
    for line in prose(text).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == header:
            inside = True
        elif inside and not set(cells[0]) <= {"-", ":"}:
            found.append(cells)
    return found


def first_column(text: str, header: str) -> set[str]:
    """Return every inline code in the first column of the tables headed ``header``."""
    return {name for row in rows(text, header) for name in spans(row[0])}


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of ``text``."""
    titles = re.findall(r"^#+ +(.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# ---- reading the code ----------------------------------------------------------------------------------------


@cache
def commands() -> dict[str, Any]:
    """Return every command by its words, e.g. ``model path``."""
    found: dict[str, Any] = {}

    def walk(words: tuple[str, ...], command: Any) -> None:
        children = getattr(command, "commands", None)
        if not children:
            found[" ".join(words)] = command
        for name, child in (children or {}).items():
            walk((*words, name), child)

    walk((), typer.main.get_command(app))
    return found


def parameters(command: Any) -> set[str]:
    """Return the options and arguments of a command, as its help names them."""
    return {
        name.removesuffix("...")
        for parameter in command.params
        for name in (
            [*parameter.opts, *parameter.secondary_opts]
            if parameter.param_type_name == "option"
            else [parameter.metavar or parameter.name.upper()]
        )
    }


def command_names() -> set[str]:
    return {f"{words} {name}" for words, command in commands().items() for name in ("", *parameters(command))}


def documented_commands(text: str) -> set[str]:
    """Return commands and parameters that have a heading, or a row in a table below it."""
    found: set[str] = set()
    for title, body in sections(text).items():
        if not title.startswith("fundstelle "):
            continue
        words = " ".join(word for word in title.split()[1:] if word.islower())
        found.add(f"{words} ")
        for header in ("option", "argument", "argument or option"):
            found |= {f"{words} {name.split()[0].removesuffix('...')}" for name in first_column(body, header)}
    return found


@pytest.fixture
def openapi(library: index.Library) -> dict[str, Any]:
    return build_app(AppState(library)).openapi()


def endpoints(schema: dict[str, Any]) -> set[str]:
    return {f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods}


def tool_names() -> set[str]:
    """Return every tool and its arguments."""
    return {f"{tool.name} {argument}" for tool in TOOLS.values() for argument in ("", *tool.arguments.model_fields)}


def documented_tools(text: str) -> set[str]:
    """Return tools that have a heading, and the arguments in a table below it."""
    found = {title: first_column(body, "argument") for title, body in sections(text).items()}
    return {f"{title} {name}" for title, names in found.items() if names for name in ("", *names)}


def documented_endpoints(text: str) -> set[str]:
    return {title for title in sections(text) if re.match(r"[A-Z]+ /", title)}


def flags() -> dict[str, str]:
    """Return the flag of every setting that a command has one for."""
    return {
        parameter.name: parameter.opts[0]
        for command in commands().values()
        for parameter in command.params
        if parameter.name in Settings.model_fields and parameter.param_type_name == "option"
    }


def modules() -> set[str]:
    found = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for package in ("index", "service", "eval")
        for file in (ROOT / package).rglob("*.py")
    }
    return {name for name in found if not name.endswith(("__init__", "__main__"))}


def make_targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z]+):", makefile, re.M))


def named_targets(text: str) -> set[str]:
    """Return what is named after ``make`` in the code of a document; prose may make sense or make do."""
    code = [*spans(text), *fences(text)]
    return {match for part in code for match in re.findall(r"(?:^|[;&(]\s*|\|\s*)make ([a-z]+)", part, re.M)}


# ---- comparing -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """What the code names, and how a document's names are found; the two must be the same."""

    document: str
    names: Callable[[], set[str]]
    documented: Callable[[str], set[str]]

    def problems(self, text: str) -> list[str]:
        named, found = self.names(), self.documented(text)
        return [
            *(f"{self.document} lacks '{name}'" for name in sorted(named - found)),
            *(f"{self.document} has '{name}', which the code has not" for name in sorted(found - named)),
        ]


def column(header: str) -> Callable[[str], set[str]]:
    return lambda text: first_column(text, header)


COMPARISONS = {
    "settings": Comparison("docs/settings.md", lambda: set(Settings.model_fields), column("setting")),
    "commands": Comparison("docs/cli.md", command_names, documented_commands),
    "error codes": Comparison("docs/errors.md", lambda: {*all_codes(), *PROTOCOL}, column("code")),
    "measures": Comparison("docs/evaluation.md", lambda: set(MEASURES), column("measure")),
    "record fields": Comparison(
        "docs/evaluation.md",
        lambda: {field.name for field in dataclasses.fields(Record)},
        column("field of a record"),
    ),
    "tools": Comparison("docs/mcp.md", tool_names, documented_tools),
    "library": Comparison("docs/library.md", lambda: set(index.__all__), column("name")),
    "modules": Comparison("docs/architecture.md", modules, column("module")),
}


@pytest.mark.parametrize("kind", COMPARISONS)
def test_the_document_names_what_the_code_has_and_nothing_else(kind: str) -> None:
    comparison = COMPARISONS[kind]
    assert comparison.names()
    assert comparison.problems(read(comparison.document)) == []


@pytest.mark.parametrize("kind", COMPARISONS)
def test_a_name_taken_out_or_put_in_is_reported(kind: str) -> None:
    comparison = COMPARISONS[kind]
    text = read(comparison.document)
    for name in comparison.names():
        word = re.escape(name.split()[-1])
        without = re.sub(rf"(?<![\w@-]){word}(?![\w@-])", "Taken-Out", text)
        assert f"{comparison.document} lacks '{name}'" in comparison.problems(without), name
    rows_put_in = (
        re.sub(rf"^\| `{re.escape(word)}", f"| `put_in`, `{word}", text, flags=re.M) for word in spans(text)
    )
    assert any("'put_in'" in line or " put_in'" in line for new in rows_put_in for line in comparison.problems(new))


def test_every_endpoint_is_documented_and_no_other(openapi: dict[str, Any]) -> None:
    text = read("docs/http.md")
    assert documented_endpoints(text) == endpoints(openapi)
    for endpoint in endpoints(openapi):
        assert endpoint in spans(text), "not in the table of calls"
        without = text.replace(f"## {endpoint}\n", "")
        assert endpoints(openapi) - documented_endpoints(without) == {endpoint}


# ---- the contents of rows ------------------------------------------------------------------------------------


def setting_problems(text: str) -> Iterator[str]:
    """Compare the rows of settings with the fields: variable, flag, default, range."""
    for cells in rows(text, "setting"):
        (name,) = spans(cells[0])
        field, flag = Settings.model_fields[name], flags().get(name)
        _, variable, shown_flag, default, bounds, *_ = cells
        if spans(variable) != [PREFIX + name.upper()]:
            yield f"{name}: variable"
        if spans(shown_flag) != ([flag] if flag else []):
            yield f"{name}: flag"
        shown = default.startswith("none") if field.default is None else spans(default) == [str(field.default)]
        if not shown:
            yield f"{name}: default"
        limits = [
            getattr(item, bound) for item in field.metadata for bound in ("gt", "ge", "le") if hasattr(item, bound)
        ]
        if limits and [float(number) for number in re.findall(r"[\d.]+", bounds)] != limits:
            yield f"{name}: range"


def test_settings_have_the_right_variable_flag_default_and_range() -> None:
    text = read("docs/settings.md")
    assert list(setting_problems(text)) == []
    assert CONFIG_VARIABLE in spans(text)
    for wrong in ("`FUNDSTELLE_PORT`", "`--port`", "`8000`", "0 to 65535"):
        assert wrong in text
        line = next(line for line in text.splitlines() if line.startswith("| `port`"))
        assert len(list(setting_problems(text.replace(line, line.replace(wrong, "`wrong` 5"))))) == 1


def test_the_readme_shows_settings_as_they_are() -> None:
    for cells in rows(read("README.md"), "setting"):
        (name,) = spans(cells[0])
        default = Settings.model_fields[name].default
        assert cells[1].strip("`") == ("none" if default is None else str(default)), name


def error_problems(text: str) -> Iterator[str]:
    """Compare the statuses of error codes; a code that HTTP does not have shows a dash."""
    statuses = STATUS | {code: status for code, (status, *_) in PROTOCOL.items()}
    for cells in rows(text, "code"):
        (code,) = spans(cells[0])
        if cells[1] != str(statuses.get(code, "–")):
            yield code
        if not (cells[2].strip() and cells[3].strip()):
            yield code


def test_error_codes_have_the_right_status_a_meaning_and_advice() -> None:
    text = read("docs/errors.md")
    assert list(error_problems(text)) == []
    assert list(error_problems(text.replace("`document_empty` | 422", "`document_empty` | 400"))) == [
        "document_empty"
    ]
    assert list(error_problems(text.replace("| `cases_invalid` | –", "| `cases_invalid` | 422"))) == ["cases_invalid"]


def test_options_have_the_right_default_and_range() -> None:
    for words, body in sections(read("docs/cli.md")).items():
        if not words.startswith("fundstelle "):
            continue
        command = commands()[" ".join(word for word in words.split()[1:] if word.islower())]
        for parameter in command.params:
            row = next(
                (cells[1] for cells in [*rows(body, "option"), *rows(body, "argument or option")]
                 if spans(cells[0])[0].split()[0] == parameter.opts[0] and len(spans(cells[0])) == 1),
                None,
            )  # fmt: skip
            if row and parameter.default not in (None, False) and parameter.name not in ("data", "collection"):
                assert f"Default: `{parameter.default}`" in row, (words, parameter.opts)
            if row and parameter.max is not None:
                assert f"{parameter.min} to {parameter.max}" in row, (words, parameter.opts)


def test_the_parts_of_a_report_are_explained() -> None:
    named = spans(read("docs/evaluation.md"))
    for name in (field.name for field in dataclasses.fields(Report)):
        assert name in named, name


# ---- examples ------------------------------------------------------------------------------------------------


def model_of(content: dict[str, Any]) -> Any:
    """Return the class that a request or response of OpenAPI names, if it is JSON."""
    schema = content.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2] or schema.get("title")
    return getattr(schemas, name, None) or getattr(chat, name) if name else None


def test_the_examples_of_http_have_the_form_of_requests_and_responses(openapi: dict[str, Any]) -> None:
    checked = 0
    for title, body in sections(read("docs/http.md")).items():
        if title not in endpoints(openapi):
            continue
        method, path = title.split()
        call = openapi["paths"][path][method.lower()]
        request = model_of(call.get("requestBody", {}))
        response = model_of(next(value for code, value in call["responses"].items() if int(code) < 300))
        if request:
            assert set(request.model_fields) <= first_column(body, "field") | set(response.model_fields) or (
                request is schemas.ReceiptBody
            ), title
        models = [model for model in (request, response) if model]
        examples = fences(body, "json")
        assert len(examples) in (0, len(models)), title
        for model, example in zip(models, examples, strict=False):
            read_back = model.model_validate_json(example).model_dump(mode="json")
            if model is response:
                assert read_back == json.loads(example), f"{title}: a field is missing or unknown"
            checked += 1
    assert checked >= 9
    for name in ("docs/http.md", "docs/errors.md"):
        schemas.ErrorBody.model_validate_json(fences(read(name), "json")[0])


def test_the_example_of_a_case_is_one(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(fences(read("docs/evaluation.md"), "json")[0], "utf-8")
    (case,) = read_dataset(file).cases
    assert case.answerable


def test_the_number_of_sample_cases_is_right() -> None:
    cases = read_dataset(ROOT / "eval" / "data" / "sample.jsonl").cases
    without = sum(not case.answerable for case in cases)
    stated = " ".join(read("docs/evaluation.md").split())
    assert f"has {len(cases)} cases on the articles in `sample/`; {without} of them have no answer" in stated
    assert f"asks the {len(cases)} sample questions" in " ".join(read("README.md").split())


def shown_quotes(text: str) -> list[tuple[str, str, int, int]]:
    """Return quote, source, start and end of every citation in the fenced blocks, as ``fundstelle ask`` prints it."""
    found = [
        match
        for block in fences(text)
        for match in re.findall(r"^ *\[\d+\] (.*?)\n +(\S+) \[(\d+):(\d+)\]", block, re.M | re.S)
    ]
    return [(quote, source, int(start), int(end)) for quote, source, start, end in found]


def is_quoted_rightly(quote: str, source: str, start: int, end: int) -> bool:
    file = ROOT / "sample" / source
    return file.is_file() and decode(file.read_bytes())[start:end] == quote


def test_the_answer_the_readme_shows_is_in_the_sample() -> None:
    text = read("README.md")
    quotes = shown_quotes(text)
    assert quotes or "<!-- demo output -->" in text
    assert [quote for quote in quotes if not is_quoted_rightly(*quote)] == []


def test_a_quote_that_is_not_in_the_sample_is_noticed() -> None:
    file = next(iter(sorted((ROOT / "sample").glob("*.txt"))))
    right = decode(file.read_bytes())[10:50]
    text = f"```text\n[1] {right}\n    {file.name} [10:50], en: Title\n\n[2] No.\n    {file.name} [10:50]\n```\n"
    assert [is_quoted_rightly(*quote) for quote in shown_quotes(text)] == [True, False]


def test_the_example_of_a_settings_file_is_one() -> None:
    (example,) = fences(read("docs/settings.md"), "toml")
    Settings.model_validate(tomllib.loads(example))


# ---- commands ------------------------------------------------------------------------------------------------


def shell_lines(text: str) -> list[str]:
    """Return the logical lines of the ``sh`` blocks: comments dropped, continued lines joined."""
    joined = [re.sub(r"\\\n\s*", "", block) for block in fences(text, "sh")]
    return [line for block in joined for line in block.splitlines() if line.strip() and not line.startswith("#")]


def command_lines(text: str) -> list[list[str]]:
    """Return the words of every line that calls ``fundstelle``, variables before it and redirections left out."""
    found: list[list[str]] = []
    for line in shell_lines(text):
        if re.match(r"(?:\w+=\S+ )*fundstelle ", line):
            words = shlex.split(line.split(" > ")[0], comments=True)
            found.append(words[words.index("fundstelle") + 1 :])
    return found


def does_not_parse(words: list[str]) -> str | None:
    """Say what is wrong with a command line without running it."""
    name = next((name for name in commands() if words[: len(name.split())] == name.split()), None)
    if name is None:
        return f"there is no command '{' '.join(words)}'"
    try:
        commands()[name].make_context(name, words[len(name.split()) :])
    except Exception as error:
        return f"{name}: {error}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_line_parses(document: Path) -> None:
    assert [wrong for words in command_lines(document.read_text("utf-8")) if (wrong := does_not_parse(words))] == []


@pytest.mark.parametrize(
    "line",
    ["fundstelle frobnicate", "fundstelle ask", "fundstelle ask x --no-such", "A=1 fundstelle ask x --top-k 0"],
)
def test_a_command_line_that_does_not_parse_is_reported(line: str) -> None:
    (words,) = command_lines(f"```sh\n{line}\n```\n")
    assert does_not_parse(words)


def test_the_readme_calls_every_command() -> None:
    called = {" ".join(words) for words in command_lines(read("README.md"))} | set(spans(read("README.md")))
    for name in commands():
        assert any(call.removeprefix("fundstelle ").startswith(name) for call in called), name


# ---- running what the documents show -------------------------------------------------------------------------


@pytest.fixture
def workshop(tmp_path: Path, e5: Encoder) -> Path:
    """A folder that looks like the repository to the commands of the README."""
    (tmp_path / "eval").mkdir()
    (tmp_path / "sample").symlink_to(ROOT / "sample")
    (tmp_path / "eval" / "data").symlink_to(ROOT / "eval" / "data")
    return tmp_path


def run_block(block: str, folder: Path) -> str:
    """Run a block of shell with this interpreter's commands and return what it prints."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder, capture_output=True, text=True, check=False, timeout=200, env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def runnable(block: str) -> str:
    """Leave out set-up, and lines that name files to be chosen."""
    lines = [line for line in block.splitlines() if not re.match(r"(make|\.) |.*\b(OLD|NEW|DIR|PATH)\b", line)]
    return "\n".join(lines)


@contextmanager
def serving(command: str, folder: Path, port: int) -> Iterator[None]:
    """Run ``fundstelle serve`` as written, but on a free port, until the block ends."""
    words = [str(port) if word == "8000" else word for word in shlex.split(command)]
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *words[1:]],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        for _ in range(300):
            assert process.poll() is None, "the service stopped"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        else:
            pytest.fail("the service did not start")
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_the_readmes_commands_run(workshop: Path) -> None:
    ran = ""
    for body in sections(read("README.md")).values():
        blocks = [runnable(block) for block in fences(body, "sh")]
        if not any(block.startswith(("curl", "fundstelle serve")) for block in blocks):
            ran += "".join(run_block(block, workshop) for block in blocks if block)
    assert "[1]" in ran
    assert "all in order" in ran
    assert list((workshop / "eval-results").glob("*.json"))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_readmes_http_examples_run(workshop: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_block("fundstelle index sample --data .demo", workshop)
    serve, *blocks = fences(sections(read("README.md"))["Over HTTP"], "sh")
    assert sum(block.count("curl ") for block in blocks) >= 3
    with serving(serve, workshop, port):
        for block in blocks:
            run_block(block.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), workshop)
        (example,) = fences(sections(read("README.md"))["Over HTTP"], "python")
        (workshop / "example.py").write_text(example.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), "utf-8")
        run_block(f"PYTHONPATH={shlex.quote(str(ROOT))} python example.py", workshop)
    answer = schemas.AskResponse.model_validate_json((workshop / "answer.json").read_bytes())
    (citation, *_) = answer.citations
    assert (workshop / "source.txt").read_bytes().decode()[citation.start : citation.end] == citation.quote


@pytest.mark.slow
def test_the_librarys_example_runs(workshop: Path) -> None:
    blocks = fences(read("docs/library.md"), "python")
    assert blocks
    for block in blocks:
        (workshop / "example.py").write_text(block, "utf-8")
        assert run_block(f"PYTHONPATH={shlex.quote(str(ROOT))} python example.py", workshop)


WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "os.fork"):
        print(event, arguments, file=sys.stderr, flush=True)
sys.addaudithook(watch)
"""


def watched(code: str, home: Path) -> str:
    """Run Python in a process of its own and return every look-up, connection and fork it makes."""
    unset = {"CI", "TF_BUILD", "JENKINS_URL"}  # a package that behaves itself in CI only is none to trust
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", WATCH + code],
        capture_output=True, text=True, check=True, timeout=200, cwd=ROOT, env=environment | {"HOME": str(home)},
    )  # fmt: skip
    return done.stderr


@pytest.mark.slow
def test_nothing_leaves_the_machine(e5: Encoder, tmp_path: Path) -> None:
    models = os.environ.get("FUNDSTELLE_MODELS_DIR") or default_models_folder()
    code = f"from pathlib import Path; import index, service.app; index.open_encoder(models=Path({str(models)!r}))"
    assert "Nothing leaves the machine" in read("README.md")
    assert watched(f"{code}.encode_queries(['Who?'])", tmp_path) == ""
    assert list(tmp_path.iterdir()) == [], "something was left in the user's home"


def test_a_look_up_is_noticed(tmp_path: Path) -> None:
    assert "socket.getaddrinfo" in watched("import socket; socket.getaddrinfo('127.0.0.1', 80)", tmp_path)


# ---- links, targets, version ---------------------------------------------------------------------------------


def broken_links(document: Path, text: str) -> list[str]:
    """Return the relative links of a document that lead to no file, or to no heading in it."""
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        file = document.parent / target if target else document
        if not file.exists() or (
            anchor and anchor not in anchors(text if file == document else file.read_text("utf-8"))
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document, document.read_text("utf-8")) == []


def test_a_broken_link_is_reported() -> None:
    text = "# One\n\n[a](absent.md) [b](#one) [c](#two) [d](docs/http.md#nothing) [e](https://example.org/x)"
    assert broken_links(ROOT / "README.md", text) == ["absent.md", "#two", "docs/http.md#nothing"]


def test_every_document_in_docs_is_linked_from_somewhere() -> None:
    linked = {
        (document.parent / link.partition("#")[0]).resolve()
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)\s:]+)\)", prose(document.read_text("utf-8")))
    }
    pages = [page for page in DOCUMENTS if page.parent == ROOT / "docs"]
    assert [page.name for page in pages if page.resolve() not in linked] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_command_named_exists(document: Path) -> None:
    assert named_targets(document.read_text("utf-8")) <= make_targets(read("Makefile"))


def test_a_make_command_that_does_not_exist_is_noticed() -> None:
    text = "To make sure, `make demo` or\n\n```sh\nmake frobnicate\n```\n"
    assert named_targets(text) - make_targets(read("Makefile")) == {"frobnicate"}


def test_the_readmes_first_screen_says_how_to_see_it_and_how_to_test_it() -> None:
    first = "\n".join(read("README.md").splitlines()[:FIRST_SCREEN])
    assert {"make demo", "make test"} <= set(shell_lines(first))


def newest_version(changelog: str) -> str:
    found = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.M)
    assert found
    return found[1]


def test_the_changelogs_newest_version_is_the_projects() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert newest_version(read("CHANGELOG.md")) == version
    assert newest_version("# Changelog\n\n## [9.0.0] - 2030-01-01\n\n## 0.1.0\n") == "9.0.0"


def test_decisions_are_numbered_short_and_complete() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text("utf-8")
        assert text.startswith(f"# {int(file.name[:4])}. "), file.name
        titles = list(sections(text))
        assert titles[:2] == ["What", "Why"], file.name
        assert titles[-1] == "Consequences", file.name
        assert any(title.startswith("What else") for title in titles), file.name
        assert len(text.splitlines()) <= 90, f"{file.name} is longer than a page"


def test_the_page_is_where_the_readme_says(library: index.Library) -> None:
    routes = {cast(Any, route).path for route in build_app(AppState(library)).routes if hasattr(route, "path")}
    assert {"/", "/openapi.json"} <= routes
