"""What all command lines share: options, settings, and how a refusal ends a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console

from index.errors import FundstelleError
from service.settings import Settings, load_settings

P = ParamSpec("P")

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder that holds documents and index. [env: FUNDSTELLE_DATA]"),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings. [env: FUNDSTELLE_CONFIG]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly the HTTP response body.")]

errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""For everything that is not a command's result."""


def named_failures(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a refusal into one line on stderr and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FundstelleError as error:
            errors.print(f"fundstelle: {error.code}: {error}", markup=False)
            raise typer.Exit(1) from error
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output went away; nothing is left to say
            raise typer.Exit(1) from None

    return run


def settings_from(config: Path | None, **flags: Any) -> Settings:
    """Return the settings, with flags that were given before all others."""
    return load_settings(flags, config=config)


def data_folder(settings: Settings) -> Path:
    """Return the data folder.

    Raises:
        typer.BadParameter: if none is named.
    """
    if settings.data is None:
        raise typer.BadParameter("Name the data folder: --data DIR, or set FUNDSTELLE_DATA.", param_hint="--data")
    return settings.data
