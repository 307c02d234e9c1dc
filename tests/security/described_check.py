"""What schemathesis checks beyond its own: a refusal for the form is right only if the form is not as described.

Its check that valid requests are accepted knows statuses only, and with it every 422 would be a failure. Some
requests have the form that is described and are refused for what they mean: an unknown cursor, a question without a
word, a document without text. Those have codes of their own; ``request_invalid`` means the form, and is wrong then.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.check
def form_as_described(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> bool | None:
    """Refuse ``request_invalid`` for a request that has the described form."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 422:
        return None
    error = response.json()["error"]
    # A schema cannot say that one of the messages is to be the user's, and has to have words.
    if error["code"] == "request_invalid" and error.get("param") != "messages":
        raise AssertionError(f"refused for its form, which is as described: {error}")
    return None
