"""The command line: every command parses, delegates and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from index.errors import FundstelleError, NothingReadable
from service.settings import Settings, load_settings, show_settings

P = ParamSpec("P")

app = typer.Typer(
    name="fundstelle",
    help="Ask your own documents and get answers with exact citations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
model_app = typer.Typer(help="The embedding model.", no_args_is_help=True, rich_markup_mode=None)
eval_app = typer.Typer(
    help="Measure answers against cases with known evidence.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(model_app, name="model")
app.add_typer(eval_app, name="eval")

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder that holds documents and index. [env: FUNDSTELLE_DATA]"),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings. [env: FUNDSTELLE_CONFIG]")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Embedding model: multilingual-e5-small (embedded), a folder, or a hub name. [env: FUNDSTELLE_MODEL]",
    ),
]
CollectionOption = Annotated[str, typer.Option("--collection", help="Documents that are searched together.")]
CasesArgument = Annotated[
    Path,
    typer.Argument(metavar="CASES", help="Cases: JSON lines, xquad-dev, JSON of the SQuAD family, a BEIR folder."),
]
CorpusOption = Annotated[str, typer.Option("--corpus", help="Of xquad-dev: full or gapped.")]
DocumentsOption = Annotated[
    str, typer.Option("--documents", metavar="LANGUAGE", help="Of xquad-dev: the documents' language.")
]
QuestionsOption = Annotated[
    str, typer.Option("--questions", metavar="LANGUAGES", help="Of xquad-dev: the questions' languages, as en,de.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly the HTTP response body.")]

_BATCH_CHARACTERS = 200_000
"""Documents are embedded and stored in batches of about this size; a batch is lost whole or not at all."""

_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


def _named_failures(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a refusal into one line on stderr and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FundstelleError as error:
            _errors.print(f"fundstelle: {error.code}: {error}", markup=False)
            raise typer.Exit(1) from error
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output went away; nothing is left to say
            raise typer.Exit(1) from None

    return run


@app.command()
@_named_failures
def index(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders (.txt, .md).")],
    data: DataOption = None,
    collection: CollectionOption = "default",
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Add or update files and folders.

    Unchanged files are left as they are, so running it again costs little.

    Example: fundstelle index sample --data .demo
    """
    settings = _settings(config, data=data, model=model)
    from index import Rejection, find_files, read_file

    found = list(find_files(paths))
    left_out = [item for item in found if isinstance(item, Rejection)]
    files = [item for item in found if not isinstance(item, Rejection)]
    counts = {"added": 0, "updated": 0, "unchanged": 0}
    with _library(settings, writable=True) as library, _progress() as progress:
        task = progress.add_task("Indexing", total=len(files))
        batch: list[Any] = []

        def flush() -> None:
            for item in library.store(batch, collection):
                counts[item.outcome] += 1
            batch.clear()

        for file in files:
            try:
                batch.append(read_file(file))
            except FundstelleError as error:
                left_out.append(Rejection(file.source, error))
            if sum(len(raw.text) for raw in batch) >= _BATCH_CHARACTERS:
                flush()
            progress.update(task, advance=1)
        if batch:
            flush()
        library.refresh()
        totals = library.counts()
    for rejection in left_out:
        _errors.print(f"left out: {rejection.error.code}: {rejection.error}", markup=False)
    if not sum(counts.values()):
        reasons = "; ".join(sorted({f"{item.source} ({item.error.code})" for item in left_out})[:5])
        message = "None of the files could be read" if left_out else "There are no files"
        raise NothingReadable("nothing_readable", f"{message}{': ' + reasons if reasons else ''}.")
    summary = ", ".join(f"{number} {name}" for name, number in counts.items())
    typer.echo(f"{summary}, {len(left_out)} left out.")
    typer.echo(f"{settings.data} now holds {totals.documents} documents, {totals.passages} passages.")


@app.command()
@_named_failures
def ask(
    question: Annotated[str, typer.Argument(help="A question in any language.")],
    data: DataOption = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=100, help="Passages evidence is drawn from.")] = 5,
    collection: CollectionOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Answer a question with cited evidence, or say that the documents do not.

    Example: fundstelle ask "what did Germany offer France?" --data .demo
    """
    settings = _settings(config, data=data, model=model)
    from service.answer import answer_question
    from service.schemas import ask_response

    with _library(settings) as library:
        answer = answer_question(library, question, top_k=top_k, collection=collection, policy=_policy(settings))
    if as_json:
        typer.echo(ask_response(answer).model_dump_json())
        return
    if not answer.answerable:
        typer.echo(f"The documents do not say (confidence {answer.confidence:.2f}).")
        for hit in answer.closest[:3]:
            typer.echo(f"\n  nearest, but not an answer: {hit.document.source} {_place(hit.passage.span)}")
            typer.echo(f"  {_one_line(hit.text, 160)}")
        return
    for citation in answer.citations:
        document = citation.hit.document
        quote = f"the same words as in [{citation.same_as}]" if citation.same_as else citation.quote
        differs = f" (differs from [{citation.differs_from}])" if citation.differs_from else ""
        typer.echo(f"[{citation.number}] {quote}{differs}")
        typer.echo(f"    {document.source} {_place(citation.span)}, {document.language}: {document.title}\n")
    typer.echo(f"confidence {answer.confidence:.2f}, {answer.timings_ms['total']:.0f} ms")


@app.command()
@_named_failures
def search(
    query: Annotated[str, typer.Argument(help="Words or a question in any language.")],
    data: DataOption = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=100, help="How many passages.")] = 10,
    collection: CollectionOption = "default",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Find the passages nearest to a query.

    Example: fundstelle search "UN mission in Mali" --data .demo --top-k 3
    """
    settings = _settings(config, data=data, model=model)
    from service.schemas import search_response

    with _library(settings) as library:
        result = library.search(query, top_k, collection)
    if as_json:
        typer.echo(search_response(result.hits, result.generation, dict(result.timings_ms)).model_dump_json())
        return
    for hit in result.hits:
        typer.echo(f"{hit.rank}. {hit.score:.3f} {hit.document.source} {_place(hit.passage.span)}")
        typer.echo(f"   {_one_line(hit.text, 160)}")


@app.command()
@_named_failures
def serve(
    data: DataOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port. [default: 8000]")] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Serve the HTTP interface and the chat page.

    Example: fundstelle serve --data .demo --port 8000
    """
    settings = _settings(config, data=data, host=host, port=port, model=model)
    import uvicorn

    from service.app import build_app
    from service.routes import AppState

    with _library(settings, writable=True) as library:
        application = build_app(AppState(library, _policy(settings)))
        uvicorn.run(
            application,
            host=settings.host,
            port=settings.port,
            log_level="info",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )


@app.command()
@_named_failures
def verify(data: DataOption = None, config: ConfigOption = None, model: ModelOption = None) -> None:
    """Check store and index; exit 1 and say what, if anything is wrong.

    Example: fundstelle verify --data .demo
    """
    settings = _settings(config, data=data, model=model)
    with _library(settings) as library:
        problems = library.problems()
        totals = library.counts()
    for problem in problems:
        _errors.print(problem, markup=False)
    if problems:
        raise typer.Exit(1)
    typer.echo(
        f"{totals.documents} documents, {totals.passages} passages, {totals.sentences} sentences: all in order."
    )


@app.command()
@_named_failures
def info(
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Show documents, passages, generation, model, sizes and settings.

    Example: fundstelle info --data .demo --json
    """
    settings = _settings(config, data=data, model=model)
    with _library(settings) as library:
        totals, model_info = library.counts(), library.encoder.info
        size = sum(file.stat().st_size for file in library.folder.rglob("*") if file.is_file())
        described: dict[str, Any] = {
            "documents": totals.documents,
            "passages": totals.passages,
            "sentences": totals.sentences,
            "characters": totals.characters,
            "generation": library.generation,
            "model": {
                "name": model_info.name,
                "fingerprint": model_info.fingerprint,
                "dimension": model_info.dimension,
                "engine": model_info.engine,
            },
            "bytes": size,
            "settings": show_settings(settings) | {"min_confidence": _policy(settings).min_confidence},
        }
    if as_json:
        typer.echo(json.dumps(described, ensure_ascii=False))
        return
    for name, value in described.items():
        parts = value.items() if isinstance(value, dict) else ()
        typer.echo(name if parts else f"{name:12} {value}")
        for key, part in parts:
            typer.echo(f"  {key:14} {part}")


@model_app.command("path")
@_named_failures
def show_model_path(config: ConfigOption = None, model: ModelOption = None) -> None:
    """Print the folder of the active embedding model, in sentence-transformers format; make it if needed.

    Example: fundstelle model path
    """
    settings = _settings(config, model=model)
    from index import model_path

    typer.echo(model_path(settings.model, settings.models_dir, _say))


@eval_app.command("run")
@_named_failures
def run_evaluation(  # noqa: PLR0913, PLR0917 - each argument is an option
    cases: CasesArgument,
    data: DataOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results are written.")] = Path(
        "eval-results"
    ),
    corpus: CorpusOption = "full",
    documents: DocumentsOption = "de",
    questions: QuestionsOption = "en",
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Also measure naive chunks and BM25.")
    ] = True,
    previous: Annotated[
        Path | None, typer.Option("--previous", metavar="FILE", help="Show the differences from this earlier result.")
    ] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Ask every case what a user would ask, and write figures as JSON and as a page to read.

    Example: fundstelle eval run eval/data/sample.jsonl --data .demo --out results
    """
    settings = _settings(config, data=data, model=model)
    from eval.compare import read_report
    from eval.formats import read_dataset
    from eval.report import write_report
    from eval.run import evaluate, summary_lines, write_json

    dataset = read_dataset(cases, corpus=corpus, documents=documents, questions=questions.split(","))
    before = read_report(previous) if previous else None
    with _library(settings) as library, _progress() as progress:
        task = progress.add_task("Asking", total=len(dataset.cases))
        report = evaluate(
            dataset,
            library,
            _policy(settings),
            beside=None if baselines else (),
            progress=lambda name, done, total: progress.update(task, description=name, completed=done, total=total),
        )
    file = write_json(report, out)
    write_report(report, file.with_suffix(".html"), before)
    for line in summary_lines(report):
        typer.echo(line)
    typer.echo(f"{file}\n{file.with_suffix('.html')}")


@eval_app.command("convert")
@_named_failures
def convert_dataset(
    cases: CasesArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write documents and cases into.")],
    corpus: CorpusOption = "full",
    documents: DocumentsOption = "de",
    questions: QuestionsOption = "en",
) -> None:
    """Write a dataset's documents as files that can be indexed, and its cases as JSON lines.

    Example: fundstelle eval convert germanquad.json --out germanquad
    """
    from eval.formats import read_dataset, write_cases, write_documents

    dataset = read_dataset(cases, corpus=corpus, documents=documents, questions=questions.split(","))
    out.mkdir(parents=True, exist_ok=True)
    if dataset.documents:
        count = write_documents(dataset, out / "documents")
        typer.echo(f"{count} documents: {out / 'documents'}")
    if dataset.whole_documents:  # which lines of cases cannot say
        typer.echo(f"{len(dataset.cases)} cases: stay where they are; ask them with 'fundstelle eval run {cases}'")
    else:
        write_cases(dataset, out / "cases.jsonl")
        typer.echo(f"{len(dataset.cases)} cases: {out / 'cases.jsonl'}")


@eval_app.command("compare")
@_named_failures
def compare_evaluations(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Result of an earlier run.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Result of a later run.")],
) -> None:
    """Compare two runs question by question; exit 1 if a measure got worse beyond chance.

    Example: fundstelle eval compare results/old.json results/new.json
    """
    from eval.compare import compare_files, comparison_lines

    comparison = compare_files(old, new)
    for line in comparison_lines(comparison):
        typer.echo(line)
    if comparison.worse:
        raise typer.Exit(1)


def _settings(config: Path | None, **flags: Any) -> Settings:
    return load_settings(flags, config=config)


def _policy(settings: Settings) -> Any:
    from service.answer import make_policy

    return make_policy(settings.min_confidence, settings.max_risk)


@contextmanager
def _library(settings: Settings, *, writable: bool = False) -> Iterator[Any]:
    """Open data folder and model; imports happen here so that ``--help`` is quick."""
    if settings.data is None:
        raise typer.BadParameter("Name the data folder: --data DIR, or set FUNDSTELLE_DATA.", param_hint="--data")
    from index import Library, open_encoder

    encoder = open_encoder(settings.model, settings.models_dir, settings.threads, _say)
    with Library(settings.data, encoder, writable=writable) as library:
        yield library


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _say(line: str) -> None:
    _errors.print(line, markup=False)


def _place(span: Any) -> str:
    return f"[{span.start}:{span.end}]"


def _one_line(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    main()
