"""Settings: from flags, then ``FUNDSTELLE_*`` variables, then a TOML file; strict, read once, printable.

An unknown key is an error wherever it stands, so that a typing mistake cannot be silently ignored.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from index import EMBEDDED_MODEL
from index.errors import SettingsRejected

PREFIX = "FUNDSTELLE_"
CONFIG_VARIABLE = "FUNDSTELLE_CONFIG"


class Settings(BaseModel):
    """Everything that can be set; each field is a flag, a variable and a TOML key of the same name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Annotated[Path | None, Field(description="Folder that holds documents and index.")] = None
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="Embedding model: the embedded one, a folder in sentence-transformers format, or a hub name.",
        ),
    ] = EMBEDDED_MODEL
    models_dir: Annotated[
        Path | None, Field(description="Where the embedded model is kept once converted; default: the user's cache.")
    ] = None
    threads: Annotated[
        int | None, Field(ge=1, le=1024, description="Cores to compute on; default: all this process may use.")
    ] = None
    host: Annotated[str, Field(min_length=1, description="Address the service listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port the service listens on; 0 picks a free one.")] = 8000
    api_key: Annotated[
        SecretStr | None,
        Field(description="A key that may do everything, for where none can be made beforehand, as in a container."),
    ] = None
    allowed_hosts: Annotated[
        str | None,
        Field(description="Names, with commas, that this service is called by, besides addresses and localhost."),
    ] = None
    allowed_origins: Annotated[
        str | None,
        Field(description="Other origins, with commas, whose pages may use the service, as https://example.org."),
    ] = None
    rate_limit: Annotated[
        str | None,
        Field(description="Requests a key may make, or an address while there are no keys, as 600/minute."),
    ] = None
    log_format: Annotated[
        Literal["text", "json"], Field(description="Form of what a service writes to stderr: for people or programs.")
    ] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="From which weight on a service writes lines."),
    ] = "info"
    min_confidence: Annotated[
        float | None,
        Field(ge=0, le=1, description="Least confidence an answer needs; below it the documents 'do not say'."),
    ] = None
    keep_generations: Annotated[
        int, Field(ge=0, le=1_000_000, description="How many changes back a question can be asked 'as_of'.")
    ] = 10
    min_recall: Annotated[
        float,
        Field(
            ge=0, le=1, description="Share of the true neighbours an index must find; searched harder if it fails."
        ),
    ] = 0.95
    disk_reserve: Annotated[
        int, Field(ge=0, le=2**40, description="MiB of disk that must stay free; below, nothing is added.")
    ] = 256
    cases: Annotated[
        Path | None, Field(description="Cases a new embedding model must not answer worse before it is used.")
    ] = None
    max_risk: Annotated[
        float | None,
        Field(ge=0.01, le=1, description="Share of answers that may be wrong; chooses min_confidence accordingly."),
    ] = None
    llm_url: Annotated[
        str | None,
        Field(description="Base address of an OpenAI-compatible endpoint that writes answers; default: none."),
    ] = None
    llm_model: Annotated[str | None, Field(min_length=1, description="Name of the text model at that endpoint.")] = (
        None
    )
    llm_key: Annotated[
        SecretStr | None, Field(description="Key that is sent to that endpoint, and nowhere else.")
    ] = None
    llm_deadline: Annotated[
        float, Field(gt=0, le=600, description="Seconds that writing may take; then the evidence is the answer.")
    ] = 20.0

    @field_validator("llm_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        wrong = parts.username or parts.password or parts.query or parts.fragment or not parts.hostname
        if parts.scheme not in {"http", "https"} or wrong or any(letter.isspace() for letter in value):
            raise ValueError("it must be like http://127.0.0.1:11434/v1, without a key in it")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _llm_is_whole(self) -> Self:
        if (self.llm_url is None) != (self.llm_model is None):
            raise ValueError("llm_url and llm_model are given together, or neither")
        if self.llm_key is not None and self.llm_url is None:
            raise ValueError("llm_key needs llm_url")
        return self


def load_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ, config: Path | None = None
) -> Settings:
    """Merge the three places.

    Args:
        flags: values given on the command line; ``None`` means not given.
        environment: where ``FUNDSTELLE_*`` variables are looked up; ``FUNDSTELLE_CONFIG`` may name the TOML file.
        config: the TOML file, if a flag names it.

    Raises:
        SettingsRejected: for an unknown key, a value out of range, or a file that cannot be read.
    """
    file = config or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    values: dict[str, Any] = _read_toml(file) if file else {}
    for name, value in environment.items():
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            key = name.removeprefix(PREFIX).lower()
            if key not in Settings.model_fields:
                raise SettingsRejected("settings_invalid", f"There is no setting for the variable {name}.")
            values[key] = value
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "llm_url"
        if first["type"] == "extra_forbidden":
            raise SettingsRejected("settings_invalid", f"There is no setting '{key}'.") from error
        raise SettingsRejected("settings_invalid", f"The setting '{key}' cannot be used: {first['msg']}.") from error


def show_settings(settings: Settings) -> dict[str, str | int | float | None]:
    """Return every setting with its value as it can be printed; secrets are hidden."""
    shown: dict[str, str | int | float | None] = {}
    for name, value in settings:
        if isinstance(value, SecretStr):
            shown[name] = "********"
        else:
            shown[name] = value if isinstance(value, int | float | None) else str(value)
    return shown


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsRejected("settings_invalid", f"The file '{file}' cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsRejected("settings_invalid", f"The file '{file}' is not valid TOML: {error}.") from error
