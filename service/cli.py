"""The command line: every command parses, delegates and prints."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from index.errors import DataDamaged, FundstelleError, NothingReadable
from service.cli_keys import keys_app
from service.command import (
    ConfigOption,
    DataOption,
    JsonOption,
    data_folder,
    errors,
    named_failures,
    settings_from,
)
from service.settings import Settings, show_settings

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
app.add_typer(keys_app, name="keys")

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
OriginFilters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FIELD=VALUE",
        help="source, language, format, date, author, document_id or metadata.KEY; FROM..TO for a range; repeatable.",
    ),
]
AsOfOption = Annotated[
    int | None, typer.Option("--as-of", metavar="GENERATION", help="Answer from an earlier state that is still kept.")
]

_BATCH_CHARACTERS = 200_000
"""Documents are embedded and stored in batches of about this size; a batch is lost whole or not at all."""


def main() -> None:
    """Run the command line."""
    app()


@app.command()
@named_failures
def index(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    data: DataOption = None,
    collection: CollectionOption = "default",
    sync: Annotated[
        bool, typer.Option("--sync", help="Also remove documents whose file is gone from the folders named.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write what became of each file, as JSON lines.")
    ] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Add or update files and folders: .txt, .md, .html, .pdf and .docx.

    Unchanged files are left as they are, so running it again costs little; an import that was interrupted goes on
    where it stopped. With --sync the collection mirrors the folders: what vanished from them is removed, what came
    from elsewhere stays.

    Example: fundstelle index sample --data .demo
    """
    settings = settings_from(config, data=data, model=model)
    if report is not None:
        _expect_writable(report)
    from index import Rejection, find_files
    from index.load import read_unless_known

    found = list(find_files(paths))
    left_out = [item for item in found if isinstance(item, Rejection)]
    files = [item for item in found if not isinstance(item, Rejection)]
    counts = {"added": 0, "updated": 0, "unchanged": 0}
    fates: list[dict[str, Any]] = []
    with _library(settings, writable=True) as library, _progress() as progress:
        task = progress.add_task("Indexing", total=len(files))
        batch: list[Any] = []

        def flush() -> None:
            for item in library.store(batch, collection):
                counts[item.outcome] += 1
                fates.append({"source": item.document.source, "status": item.outcome, "id": item.document.id})
            batch.clear()

        for file in files:
            try:
                raw = read_unless_known(file, partial(library.recognise, file, collection=collection))
                if raw is None:
                    counts["unchanged"] += 1
                    fates.append({"source": file.source, "status": "unchanged"})
                else:
                    batch.append(raw)
            except FundstelleError as error:
                left_out.append(Rejection(file.source, error))
            if sum(len(raw.text) for raw in batch) >= _BATCH_CHARACTERS:
                flush()
            progress.update(task, advance=1)
        if batch:
            flush()
        removed = _remove_vanished(library, paths, found, collection) if sync else 0
        library.refresh()
        totals = library.counts()
    for rejection in left_out:
        errors.print(f"left out: {rejection.error.code}: {rejection.error}", markup=False)
    if report is not None:
        _write_report(report, fates, left_out)
    if not sum(counts.values()) + removed:
        reasons = "; ".join(sorted({f"{item.source} ({item.error.code})" for item in left_out})[:5])
        message = "None of the files could be read" if left_out else "There are no files"
        raise NothingReadable("nothing_readable", f"{message}{': ' + reasons if reasons else ''}.")
    if sync:
        counts["removed"] = removed
    summary = ", ".join(f"{number} {name}" for name, number in counts.items())
    typer.echo(f"{summary}, {len(left_out)} left out.")
    typer.echo(f"{settings.data} now holds {totals.documents} documents, {totals.passages} passages.")


@app.command()
@named_failures
def ask(  # noqa: PLR0913, PLR0917 - each argument is an option
    question: Annotated[str, typer.Argument(help="A question in any language.")],
    data: DataOption = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=100, help="Passages evidence is drawn from.")] = 5,
    collection: CollectionOption = "default",
    filters: OriginFilters = None,
    as_of: AsOfOption = None,
    previous: Annotated[
        str | None,
        typer.Option("--previous", metavar="TEXT", help="What was searched before, if this question follows it up."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Have the answer written, if an endpoint is configured.")
    ] = True,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Answer a question with cited evidence, or say that the documents do not.

    Example: fundstelle ask "what did Germany offer France?" --data .demo
    """
    settings = settings_from(config, data=data, model=model)
    from service.answer import answer_question
    from service.schemas import ask_response

    with _library(settings) as library, _writer(settings if write else None) as writer:
        answer = answer_question(
            library,
            question,
            top_k=top_k,
            collection=collection,
            filters=_filters(filters),
            policy=_policy(settings),
            as_of=as_of,
            previous=previous,
        )
        written = writer.answer(answer, library.encoder) if writer else None
    if as_json:
        typer.echo(ask_response(answer, written).model_dump_json())
        return
    if answer.searched != answer.question:
        typer.echo(f"Searched for: {_one_line(answer.searched, 600)}\n")
    if not answer.answerable:
        typer.echo(f"The documents do not say (confidence {answer.confidence:.2f}).")
        for hit in answer.closest[:3]:
            typer.echo(f"\n  nearest, but not an answer: {hit.document.source} {_place(hit.passage.span)}")
            typer.echo(f"  {_one_line(hit.text, 160)}")
        return
    if written is not None:
        typer.echo(f"{written.text}\n" if written.sentences else f"(not written: {written.problem})\n")
    for citation in answer.citations:
        document = citation.hit.document
        quote = f"the same words as in [{citation.same_as}]" if citation.same_as else citation.quote
        differs = f" (differs from [{citation.differs_from}])" if citation.differs_from else ""
        typer.echo(f"[{citation.number}] {quote}{differs}")
        where = "".join(f", {part}" for part in _where(citation.location))
        typer.echo(f"    {document.source} {_place(citation.span)}{where}, {document.language}: {document.title}\n")
    typer.echo(
        f"confidence {answer.confidence:.2f}, generation {answer.generation}, {answer.timings_ms['total']:.0f} ms"
    )


@app.command()
@named_failures
def search(  # noqa: PLR0913, PLR0917 - each argument is an option
    query: Annotated[str, typer.Argument(help="Words or a question in any language.")],
    data: DataOption = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=100, help="How many passages.")] = 10,
    collection: CollectionOption = "default",
    filters: OriginFilters = None,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Find the passages nearest to a query.

    Example: fundstelle search "UN mission in Mali" --data .demo --top-k 3
    """
    settings = settings_from(config, data=data, model=model)
    from service.schemas import search_response

    with _library(settings) as library, library.view(as_of) as view:
        result = view.search(query, top_k, collection, _filters(filters))
        locations = view.locations([(hit.document.id, hit.passage.span) for hit in result.hits])
    if as_json:
        typer.echo(search_response(result, locations).model_dump_json())
        return
    for hit in result.hits:
        typer.echo(f"{hit.rank}. {hit.score:.3f} {hit.document.source} {_place(hit.passage.span)}")
        typer.echo(f"   {_one_line(hit.text, 160)}")


@app.command()
@named_failures
def delete(
    data: DataOption = None,
    collection: CollectionOption = "default",
    filters: OriginFilters = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Remove the documents that match; they are erased, their past included.

    Example: fundstelle delete --data .demo --filter source=notes/old.txt
    """
    settings = settings_from(config, data=data, model=model)
    wanted = _filters(filters)
    if not wanted:
        raise typer.BadParameter("Say which documents: --filter source=NAME.", param_hint="--filter")
    with _library(settings, writable=True) as library:
        removed = library.delete_where(wanted, collection)
    typer.echo(f"{len(removed)} removed.")


@app.command()
@named_failures
def backup(
    target: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to make; must not exist yet.")],
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy documents and vectors into a new folder, also while a service is using them.

    Example: fundstelle backup backups/monday --data .demo
    """
    folder = data_folder(settings_from(config, data=data))
    from index.backup import back_up

    with _progress() as progress:
        manifest = back_up(folder, target, _told(progress, "Copying"))
    typer.echo(f"{target} holds generation {manifest.generation}, {manifest.bytes:,} bytes.")


@app.command()
@named_failures
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder that 'fundstelle backup' made.")],
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a data folder of a backup; it must not exist yet, or be empty.

    Example: fundstelle restore backups/monday --data .restored
    """
    folder = data_folder(settings_from(config, data=data))
    from index.backup import restore as restore_backup

    with _progress() as progress:
        manifest = restore_backup(source, folder, _told(progress, "Copying"))
    typer.echo(f"{folder} holds generation {manifest.generation}; its index is built when it is opened next.")


@app.command()
@named_failures
def serve(
    data: DataOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port. [default: 8000]")] = None,
    first_key: Annotated[
        Path | None,
        typer.Option(
            "--first-key",
            metavar="FILE",
            help="If there are no keys yet, make one for everything and write it there.",
        ),
    ] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Serve the HTTP interface and the chat page.

    On another address than the loopback one, it does not start without a key ('fundstelle keys create').

    TERM ends it once what is being answered is finished. HUP reads the settings again: another 'model' is embedded
    beside the present one and then used.

    Example: fundstelle serve --data .demo --port 8000
    """
    flags = {"data": data, "host": host, "port": port, "model": model}
    settings = settings_from(config, **flags)
    from index.memory import be_thrifty

    be_thrifty()
    from service.admission import admission_of
    from service.app import build_app
    from service.keys import KeyRing
    from service.logs import configure
    from service.routes import AppState
    from service.serving import serve as serve_app

    # uvicorn finishes what is being answered, then raises the signal again; by default that would end the process
    # before the data folder is closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    configure(settings.log_format, settings.log_level)
    folder = data_folder(settings)
    with closing(KeyRing(folder)) as keys:
        if first_key is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if keys.first(first_key):
                _say(f"there were no keys; the first one is in '{first_key}'")
        admission = admission_of(settings, keys)  # before anything slow is opened
        with (
            _served_library(settings, lambda: settings_from(config, **flags)) as library,
            _writer(settings, serving=True) as writer,
        ):
            state = AppState(library, _policy(settings), admission=admission, writer=writer)
            serve_app(build_app(state), settings.host, settings.port, state.life)


@app.command()
@named_failures
def verify(
    data: DataOption = None,
    receipts: Annotated[
        Path | None,
        typer.Option("--receipts", metavar="FILE", help="Also check receipts: JSON lines of receipts or answers."),
    ] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Check store, index and receipts; exit 1 and say what, if anything is wrong.

    Every row is compared with its checksum, every passage with its text, every index with the store. A receipt is
    wrong if the documents do not say any more what was cited.

    Example: fundstelle verify --data .demo
    """
    settings = settings_from(config, data=data, model=model)
    try:
        with _library(settings) as library:
            problems = library.problems()
            totals = library.counts()
            if receipts is not None:
                problems += _receipt_problems(library, receipts)
    except DataDamaged as error:
        raise DataDamaged(error.code, error.message, "Restore the folder from a backup.") from error
    for problem in problems:
        errors.print(problem, markup=False)
    if problems:
        raise typer.Exit(1)
    typer.echo(
        f"{totals.documents} documents, {totals.passages} passages, {totals.sentences} sentences: all in order."
    )


@app.command()
@named_failures
def info(
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Show documents, passages, generation, model, sizes and settings.

    Example: fundstelle info --data .demo --json
    """
    settings = settings_from(config, data=data, model=model)
    with _library(settings) as library:
        totals, model_info = library.counts(), library.encoder.info
        size = sum(file.stat().st_size for file in library.folder.rglob("*") if file.is_file())
        described: dict[str, Any] = {
            "documents": totals.documents,
            "passages": totals.passages,
            "sentences": totals.sentences,
            "characters": totals.characters,
            "generation": library.generation,
            "oldest_generation": library.catalogue.oldest(),
            "index": asdict(library.index_state()),
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
            shown = ", ".join(f"{n} {v}" for n, v in part.items()) if isinstance(part, dict) else part
            typer.echo(f"  {key:14} {shown}")


@model_app.command("path")
@named_failures
def show_model_path(config: ConfigOption = None, model: ModelOption = None) -> None:
    """Print the folder of the active embedding model, in sentence-transformers format; make it if needed.

    Example: fundstelle model path
    """
    settings = settings_from(config, model=model)
    from index import model_path

    typer.echo(model_path(settings.model, settings.models_dir, _say))


@eval_app.command("run")
@named_failures
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
    settings = settings_from(config, data=data, model=model)
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
@named_failures
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
@named_failures
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


@model_app.command("change")
@named_failures
def change_model(
    data: DataOption = None,
    cases: Annotated[
        Path | None,
        typer.Option("--cases", metavar="CASES", help="Cases it must not answer worse. [env: FUNDSTELLE_CASES]"),
    ] = None,
    config: ConfigOption = None,
    model: ModelOption = None,
) -> None:
    """Embed all documents with another model, and use it from then on.

    With cases, both models are asked them before, and the new one is not used if it answers worse. The vectors of the
    model before are kept, so that changing back is quick. A running service does the same when its setting 'model' is
    changed and it gets the signal HUP.

    Example: fundstelle model change --model intfloat/multilingual-e5-base --data .demo
    """
    settings = settings_from(config, data=data, model=model, cases=cases)
    from index import Library, open_encoder

    encoder = open_encoder(settings.model, settings.models_dir, settings.threads, _say)
    present = _present_encoder(settings, encoder)
    with Library(data_folder(settings), present, writable=True, options=_options(settings)) as library:
        with _progress() as progress:
            library.change_model(encoder, _gate(settings, present), _told(progress, "Embedding"))
        if not present.info.engine and settings.cases is not None:
            _say(f"not compared: the model '{present.info.name}' cannot be had any more")
        typer.echo(f"{settings.data} is searched with '{encoder.info.name}' from generation {library.generation} on.")


@model_app.command("prune")
@named_failures
def prune_models(data: DataOption = None, config: ConfigOption = None, model: ModelOption = None) -> None:
    """Erase the vectors of all models but the one in use.

    Example: fundstelle model prune --data .demo
    """
    settings = settings_from(config, data=data, model=model)
    with _library(settings, writable=True) as library:
        library.forget_other_models()
    typer.echo("Only the vectors of the model in use are left.")


def _policy(settings: Settings) -> Any:
    from service.answer import make_policy

    return make_policy(settings.min_confidence, settings.max_risk)


@contextmanager
def _writer(settings: Settings | None, *, serving: bool = False) -> Iterator[Any]:
    """Make what writes answers, if an endpoint is configured; yields ``None`` otherwise."""
    if settings is None or settings.llm_url is None or settings.llm_model is None:
        yield None
        return
    from service.dictionary import open_dictionaries
    from service.llm import Endpoint
    from service.writer import Writer

    key = settings.llm_key.get_secret_value() if settings.llm_key else None
    writer = Writer(Endpoint(settings.llm_url, settings.llm_model, key, settings.llm_deadline))
    if serving:  # so that the first answer does not wait for them
        threading.Thread(target=open_dictionaries, args=(("en", "de"),), name="dictionaries", daemon=True).start()
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _library(settings: Settings, *, writable: bool = False) -> Iterator[Any]:
    """Open data folder and model; imports happen here so that ``--help`` is quick."""
    folder = data_folder(settings)
    from index import Library, open_encoder

    encoder = open_encoder(settings.model, settings.models_dir, settings.threads, _say)
    with Library(folder, encoder, writable=writable, options=_options(settings)) as library:
        yield library


@contextmanager
def _served_library(settings: Settings, again: Callable[[], Settings]) -> Iterator[Any]:
    """Open a data folder to serve it; a model other than the one in use is changed to while it is served.

    The signal HUP reads the settings again.
    """
    folder = data_folder(settings)
    from index import Library, open_encoder
    from service.reload import on_hangup

    wanted = open_encoder(settings.model, settings.models_dir, settings.threads, _say)
    present = _present_encoder(settings, wanted)
    with Library(folder, present, writable=True, options=_options(settings, background=True)) as library:

        def change(encoder: Any, now: Settings) -> None:
            if encoder.info.fingerprint != library.encoder.info.fingerprint:
                library.change_model(encoder, _gate(now, library.encoder))
                _say(f"questions are answered with the model '{encoder.info.name}'")

        def reload() -> None:
            now = again()
            change(open_encoder(now.model, now.models_dir, now.threads, _say), now)

        if not present.info.engine:  # nothing can be answered before
            change(wanted, settings)
        with on_hangup(reload, at_once=None if present is wanted else lambda: change(wanted, settings)):
            yield library


def _options(settings: Settings, *, background: bool = False) -> Any:
    from index import Options

    return Options(
        keep_generations=settings.keep_generations,
        min_recall=settings.min_recall,
        disk_reserve=settings.disk_reserve * 2**20,
        background=background,
    )


def _present_encoder(settings: Settings, wanted: Any) -> Any:
    """Return the encoder of the model a data folder is searched with; ``wanted`` if that is it.

    A model that cannot be had any more, or that a newer version computes differently, has no engine.
    """
    from index import AbsentEncoder, open_encoder, stored_model
    from index.errors import ModelUnavailable

    stored = stored_model(data_folder(settings))
    if stored is None or stored.fingerprint == wanted.info.fingerprint:
        return wanted
    try:
        present = open_encoder(stored.name, settings.models_dir, settings.threads, _say)
    except ModelUnavailable:
        present = None
    if present is not None and present.info.fingerprint == stored.fingerprint:
        return present
    return AbsentEncoder(stored.name, stored.fingerprint, stored.dimension)


def _gate(settings: Settings, present: Any) -> Any:
    """Return what compares two models on the configured cases; ``None`` if there are none, or nothing to compare."""
    if settings.cases is None or not present.info.engine:
        return None
    from eval.formats import read_dataset
    from eval.gate import compare_models

    dataset, policy = read_dataset(settings.cases), _policy(settings)
    return lambda present, beside: compare_models(dataset, present, beside, policy)


def _filters(given: list[str] | None) -> dict[str, Any]:
    """Read filters as given on the command line; metadata that is a number, true or null is meant as such."""
    filters: dict[str, list[Any]] = {}
    for item in given or []:
        field, equals, value = item.partition("=")
        if not equals or not field:
            raise typer.BadParameter(f"'{item}' is not FIELD=VALUE.", param_hint="--filter")
        filters.setdefault(field, []).append(_scalar(value) if field.startswith("metadata.") else value)
    compiled: dict[str, Any] = {field: values[0] if len(values) == 1 else values for field, values in filters.items()}
    for field, value in compiled.items():
        if isinstance(value, str) and ".." in value and (field == "date" or field.startswith("metadata.")):
            first, _, last = value.partition("..")
            bounds = {"from": _bound(field, first), "to": _bound(field, last)}
            compiled[field] = {key: bound for key, bound in bounds.items() if bound != ""}
    return compiled


def _bound(field: str, text: str) -> Any:
    return _scalar(text) if field.startswith("metadata.") else text


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value


def _expect_writable(file: Path) -> None:
    """See that a file can be written before work is done for it."""
    try:
        file.open("a").close()
    except OSError as error:
        raise typer.BadParameter(f"'{file}' cannot be written: {error.strerror}.", param_hint="--report") from error


def _write_report(file: Path, fates: list[dict[str, Any]], left_out: list[Any]) -> None:
    """Write a line for each file: its source with its status, and why it was left out."""
    rejected = [
        {"source": item.source, "status": "rejected", "code": item.error.code, "message": item.error.message}
        for item in left_out
    ]
    lines = [
        json.dumps(fate, ensure_ascii=False) for fate in sorted([*fates, *rejected], key=lambda it: it["source"])
    ]
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8", "backslashreplace")


def _remove_vanished(library: Any, paths: list[Path], found: list[Any], collection: str) -> int:
    """Remove documents whose file is gone; a file that is there but cannot be read keeps its document."""
    for item in found:
        if item.source.endswith("/"):
            raise NothingReadable(
                "nothing_readable", f"{item.error.message} With --sync its documents would be removed."
            )
    sources: dict[str, set[str]] = {str(path.resolve()): set() for path in paths if path.is_dir()}
    for item in found:
        sources.setdefault(item.origin, set()).add(item.source)
    folders = [str(path.resolve()) for path in paths if path.is_dir()]
    for folder in folders:
        if not sources[folder]:
            message = f"There are no files in '{folder}'; --sync would remove every document that came from it."
            raise NothingReadable("nothing_readable", message)
    return sum(len(library.retain(folder, sources[folder], collection)) for folder in folders)


def _where(location: Any) -> Iterator[str]:
    """Say on which page and in which section something is, as far as its document has such."""
    if location is not None and location.page:
        yield f"page {location.page}" if not location.last_page else f"pages {location.page} to {location.last_page}"
    if location is not None and location.section:
        yield f'section "{_one_line(location.section, 60)}"'


def _receipt_problems(library: Any, file: Path) -> list[str]:
    from service.receipts import Status, verify_receipt
    from service.schemas import read_receipts

    found: list[str] = []
    for number, receipt in read_receipts(file):
        verdict = verify_receipt(library, receipt)
        if verdict.status in {Status.CHANGED, Status.DELETED}:
            found.append(
                f"receipt {number}: {receipt.source} {receipt.start}:{receipt.end} is {verdict.status.value}"
            )
    return found


def _told(progress: Progress, description: str) -> Callable[[int, int], None]:
    task = progress.add_task(description, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _say(line: str) -> None:
    errors.print(line, markup=False)


def _place(span: Any) -> str:
    return f"[{span.start}:{span.end}]"


def _one_line(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1].rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    main()
