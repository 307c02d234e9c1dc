"""One table from error codes to HTTP statuses; nothing else decides a status."""

from __future__ import annotations

STATUS: dict[str, int] = {
    "document_empty": 422,
    "document_binary": 422,
    "document_encoding": 422,
    "document_damaged": 422,
    "document_encrypted": 422,
    "document_too_complex": 422,
    "document_too_large": 413,
    "document_format": 415,
    "document_unreadable": 422,
    "source_invalid": 422,
    "source_conflict": 409,
    "metadata_invalid": 422,
    "nothing_readable": 422,
    "question_empty": 422,
    "question_too_long": 422,
    "question_invalid": 422,
    "top_k_invalid": 422,
    "filter_invalid": 422,
    "receipts_invalid": 422,
    "document_not_found": 404,
    "generation_not_kept": 410,
    "cursor_invalid": 422,
    "data_folder_missing": 503,
    "data_folder_unusable": 503,
    "data_folder_in_use": 503,
    "model_mismatch": 503,
    "format_newer": 503,
    "storage_full": 507,
    "storage_failed": 507,
    "storage_unreadable": 503,
    "backup_refused": 422,
    "backup_target": 409,
    "model_not_promoted": 409,
    "data_damaged": 503,
    "not_a_data_folder": 503,
    "model_unavailable": 503,
    "model_damaged": 503,
    "model_refused": 503,
    "settings_invalid": 500,
}
"""Status of every code of :mod:`index.errors`; a test fails when one is missing."""

PROTOCOL: dict[str, tuple[int, str, str]] = {
    "request_invalid": (
        422,
        "The request does not have the expected form.",
        "See /openapi.json for the form of each call.",
    ),
    "body_too_large": (413, "The request is too large.", "Send less at once."),
    "media_type_unsupported": (
        415,
        "The content type is not one this call understands.",
        "Send application/json, or multipart/form-data with a field 'file'.",
    ),
    "route_not_found": (404, "There is nothing at this address.", "See /openapi.json for every call."),
    "method_not_allowed": (405, "This address does not know this method.", "See /openapi.json for every call."),
    "internal_error": (
        500,
        "Something went wrong inside.",
        "Try again; if it happens again, report it with the log.",
    ),
}
"""Codes that arise from HTTP itself: status, message, hint."""
