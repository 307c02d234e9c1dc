"""Every way Fundstelle can refuse, as one family.

    FundstelleError
    ├── InputError             what was handed in cannot be used; the caller can mend it
    │   ├── DocumentRejected       one document: empty, damaged, undecodable, too large, wrong format
    │   ├── NothingReadable        a whole import without a single readable document
    │   ├── QuestionRejected       empty, too long or not text
    │   ├── FilterRejected         a filter names an unknown field or has a wrong shape
    │   ├── ReceiptsRejected       receipts that cannot be read
    │   └── KeyRejected            an API key that cannot be made as asked
    ├── NotFound               the thing named does not exist (any more)
    │   └── GenerationNotKept      the past state that was asked for is not kept
    ├── StateError             the data folder cannot be used as it is
    │   ├── DataFolderMissing      there is none at this path
    │   ├── DataFolderInUse        another process holds it
    │   ├── ModelMismatch          it was built with another embedding model
    │   ├── FormatNewer            a newer Fundstelle wrote it
    │   ├── StorageUnavailable     the disk is full or failing; reading goes on
    │   ├── BackupRefused          a backup that cannot be written, or is not one
    │   ├── ModelNotPromoted       another embedding model answers worse, so the present one stays
    │   └── DataDamaged            stored data contradicts itself
    ├── ModelUnavailable       the embedding model cannot be had or does not compute what it should
    └── SettingsRejected       a flag, variable or configuration key is unknown or out of range

Each error carries a stable ``code``, a ``message`` that says what happened and a ``hint`` that says what
to do. The codes are part of the interface and are listed in ``docs/errors.md``; a test keeps that list whole.
"""

from __future__ import annotations

from typing import ClassVar


class FundstelleError(Exception):
    """Base of the family; catch this to catch every refusal Fundstelle makes on purpose."""

    codes: ClassVar[dict[str, str]] = {}
    """Codes this class may carry, each with its standard hint."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        if code not in self.codes:
            raise KeyError(f"{type(self).__name__} has no code {code!r}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = self.codes[code] if hint is None else hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InputError(FundstelleError):
    """What was handed in cannot be used."""


class DocumentRejected(InputError):
    """One document cannot be taken in; nothing of it was stored."""

    codes: ClassVar[dict[str, str]] = {
        "document_empty": "Give a document with at least one letter or digit.",
        "document_binary": "Give the file the ending of its format, or convert it to UTF-8 text.",
        "document_encoding": "Save the file as UTF-8 and try again.",
        "document_too_large": "Split the document into smaller files.",
        "document_damaged": "Open the file in the program it comes from and save it again.",
        "document_encrypted": "Save the file without a password and try again.",
        "document_format": "Give .txt, .md, .html, .pdf or .docx files.",
        "document_too_complex": "Split the document, or save it anew from the program it comes from.",
        "document_unreadable": "Check that the file exists and that you may read it.",
        "source_invalid": "Give a short, printable name, for example 'letters/1848-03.txt'.",
        "source_conflict": "Index the folders' common parent, so that the names differ.",
        "metadata_invalid": "Give a flat JSON object of strings, numbers, booleans or nulls, 16 KiB at most.",
    }


class NothingReadable(InputError):
    """An import found no document it could read."""

    codes: ClassVar[dict[str, str]] = {
        "nothing_readable": "Give at least one readable .txt, .md, .html, .pdf or .docx file.",
    }


class QuestionRejected(InputError):
    """A question or query that cannot be searched."""

    codes: ClassVar[dict[str, str]] = {
        "question_empty": "Ask a question of at least one letter or digit.",
        "question_too_long": "Shorten the question to 4,096 characters.",
        "question_invalid": "Send the question as valid Unicode text.",
        "top_k_invalid": "Choose a top_k from 1 to 100.",
    }


class FilterRejected(InputError):
    """A filter names an unknown field or has a wrong shape."""

    codes: ClassVar[dict[str, str]] = {
        "filter_invalid": "Filter on 'source', 'language', 'format', 'date', 'author', 'document_id' or "
        "'metadata.KEY', each with one value, a list of values, or a range {'from': ..., 'to': ...}.",
    }


class ReceiptsRejected(InputError):
    """Receipts that were to be checked cannot be read."""

    codes: ClassVar[dict[str, str]] = {
        "receipts_invalid": "Give JSON lines, each a receipt or an answer of POST /v1/ask.",
    }


class KeyRejected(InputError):
    """An API key cannot be made as it was asked for, or none is there where one is needed."""

    codes: ClassVar[dict[str, str]] = {
        "key_invalid": "See 'fundstelle keys create --help'.",
        "keys_missing": "Make one with 'fundstelle keys create NAME', or listen on 127.0.0.1.",
    }


class NotFound(FundstelleError):
    """The thing named does not exist, or not any more."""

    codes: ClassVar[dict[str, str]] = {
        "document_not_found": "List the documents to see their ids.",
        "cursor_invalid": "Start again without a cursor.",
        "key_not_found": "List the keys with 'fundstelle keys list' to see their ids.",
    }


class GenerationNotKept(NotFound):
    """The state of the documents that was asked for is not kept any more, or does not exist yet."""

    codes: ClassVar[dict[str, str]] = {
        "generation_not_kept": "Leave 'as_of' out, or name a generation that is kept; the setting 'keep_generations' "
        "says how many are.",
    }


class StateError(FundstelleError):
    """The data folder cannot be used as it is."""


class DataFolderMissing(StateError):
    """There is no data folder at this path."""

    codes: ClassVar[dict[str, str]] = {
        "data_folder_missing": "Create it with 'fundstelle index PATH --data DIR'.",
        "data_folder_unusable": "Choose a folder that you may write to.",
    }


class DataFolderInUse(StateError):
    """Another process holds the data folder."""

    codes: ClassVar[dict[str, str]] = {
        "data_folder_in_use": "Ask the running service over HTTP, or stop it first.",
    }


class ModelMismatch(StateError):
    """The data folder was built with another embedding model."""

    codes: ClassVar[dict[str, str]] = {
        "model_mismatch": "Use the model the folder was built with (setting 'model'), or change the folder's with "
        "'fundstelle model change --data DIR'; the documents are kept.",
    }


class FormatNewer(StateError):
    """A newer version of Fundstelle wrote the data folder."""

    codes: ClassVar[dict[str, str]] = {
        "format_newer": "Update Fundstelle; the folder was left untouched.",
    }


class StorageUnavailable(StateError):
    """The disk cannot take what should be written, or give what should be read. Nothing was acknowledged."""

    codes: ClassVar[dict[str, str]] = {
        "storage_full": "Free some space; documents can be read meanwhile, and writing goes on by itself.",
        "storage_failed": "Check the disk; documents can be read meanwhile, and writing goes on once it works again.",
        "storage_unreadable": "Check the disk and the folder's permissions, then try again.",
    }


class BackupRefused(StateError):
    """A backup cannot be written there, or is not one that can be restored."""

    codes: ClassVar[dict[str, str]] = {
        "backup_refused": "Give a backup folder exactly as 'fundstelle backup' wrote it.",
        "backup_target": "Choose a folder that does not exist yet; to restore into, it may also be empty.",
    }


class ModelNotPromoted(StateError):
    """Another embedding model was tried beside the present one and is not put in its place."""

    codes: ClassVar[dict[str, str]] = {
        "model_not_promoted": "The present model stays in use. 'fundstelle eval run' with each shows where.",
    }


class DataDamaged(StateError):
    """Stored data contradicts itself; nothing is answered from it."""

    codes: ClassVar[dict[str, str]] = {
        "data_damaged": "Run 'fundstelle verify --data DIR' and restore the folder from a backup.",
        "not_a_data_folder": "Choose an empty folder, or one that Fundstelle made.",
    }


class ModelUnavailable(FundstelleError):
    """The embedding model cannot be had, or does not compute what it should."""

    codes: ClassVar[dict[str, str]] = {
        "model_unavailable": "Name a folder in sentence-transformers format or a model of the hub, or leave the "
        "setting 'model' out to use the embedded one.",
        "model_damaged": "Delete the model's folder; it is made again on the next start.",
        "model_refused": "Use a model whose weights are safetensors and that needs no code of its own.",
    }


class SettingsRejected(FundstelleError):
    """A flag, variable or configuration key is unknown or out of range."""

    codes: ClassVar[dict[str, str]] = {
        "settings_invalid": "See docs/settings.md for every setting and its range.",
    }


def all_codes() -> dict[str, str]:
    """Return every code of the family with its standard hint."""
    found: dict[str, str] = {}
    pending: list[type[FundstelleError]] = [FundstelleError]
    while pending:
        cls = pending.pop()
        found.update(cls.codes)
        pending.extend(cls.__subclasses__())
    return found
