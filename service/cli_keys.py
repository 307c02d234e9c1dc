"""The command line for API keys; it works while a service runs, which sees every change at its next request."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service.command import ConfigOption, DataOption, data_folder, named_failures, settings_from

keys_app = typer.Typer(help="API keys: who may call the service.", no_args_is_help=True, rich_markup_mode=None)

_SCOPES = ("read", "write", "admin")
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys_app.command("create")
@named_failures
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for; shown in lists.")],
    scope: Annotated[
        str, typer.Option("--scope", help="read: ask and look; write: add and remove, too; admin: /metrics, too.")
    ] = "read",
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", metavar="NAME", help="One it reaches; repeatable. [default: all]"),
    ] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=36_500, help="Days until it expires. [default: never]")
    ] = None,
    as_json: _JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a key and print it, once: only its hash is kept.

    From the first key on, the service wants one with every request.

    Example: fundstelle keys create reporting --scope read --collection press --data .demo
    """
    if scope not in _SCOPES:
        raise typer.BadParameter(f"It is one of {', '.join(_SCOPES)}.", param_hint="--scope")
    from service.access import Scope
    from service.keys import KeyRing

    with closing(KeyRing(data_folder(settings_from(config, data=data)))) as ring:
        key, secret = ring.create(name, Scope[scope.upper()], collections, days)
    if as_json:
        typer.echo(json.dumps(_shown(key) | {"key": secret}, ensure_ascii=False))
        return
    typer.echo(secret)
    typer.echo(f"'{key.id}' ({name}). The key is shown this once; send it as 'Authorization: Bearer KEY'.", err=True)


@keys_app.command("list")
@named_failures
def list_keys(as_json: _JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List all keys, revoked ones too.

    Example: fundstelle keys list --data .demo
    """
    from service.keys import KeyRing, utc_now

    with closing(KeyRing(data_folder(settings_from(config, data=data)))) as ring:
        keys = ring.listed()
    if as_json:
        typer.echo(json.dumps({"keys": [_shown(key) for key in keys]}, ensure_ascii=False))
        return
    now = utc_now()
    table = Table("id", "name", "scope", "collections", "created", "state", box=None, pad_edge=False)
    for key in keys:
        reached = "all" if key.collections is None else ", ".join(sorted(key.collections))
        expiry = f"expires {key.expires[:10]}" if key.expires else "usable"
        state = f"revoked {key.revoked[:10]}" if key.revoked else expiry if key.usable(now) else "expired"
        table.add_row(key.id, key.name, key.scope.name.lower(), reached, key.created[:10], state)
    Console(soft_wrap=True, highlight=False, markup=False).print(table if keys else "There are no keys.")


@keys_app.command("revoke")
@named_failures
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As 'keys list' shows it.")],
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a key useless, from the next request on.

    Example: fundstelle keys revoke key_5f0c1d2e3a4b --data .demo
    """
    from service.keys import KeyRing

    with closing(KeyRing(data_folder(settings_from(config, data=data)))) as ring:
        key = ring.revoke(key_id)
    typer.echo(f"'{key.id}' ({key.name}) opens nothing any more.")


def _shown(key: Any) -> dict[str, object]:
    reached = None if key.collections is None else sorted(key.collections)
    return asdict(key) | {"scope": key.scope.name.lower(), "collections": reached}
