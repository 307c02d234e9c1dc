"""From settings to whom a service lets in; refuses to start a service that everyone could reach."""

from __future__ import annotations

import ipaddress
import re

from index.errors import KeyRejected, SettingsRejected
from service.guard import Admission
from service.keys import KeyRing
from service.limits import RateLimit
from service.settings import Settings

_NAME = re.compile(r"[a-z0-9._-]{1,253}\Z")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?\Z")


def admission_of(settings: Settings, keys: KeyRing) -> Admission:
    """Return whom to let in.

    Raises:
        KeyRejected: if other machines could reach the service, and no key is there to keep them out.
        SettingsRejected: if hosts, origins or the rate are not what they should be.
    """
    if settings.api_key is not None:
        keys.accept(settings.api_key.get_secret_value())
    if not is_loopback(settings.host) and not keys.usable():
        message = f"Other machines can reach '{settings.host}', and there is no key that keeps them out."
        raise KeyRejected("keys_missing", message)
    return Admission(
        keys,
        hosts=_listed(settings.allowed_hosts, "allowed_hosts", _NAME) | {settings.host.lower()},
        origins=_listed(settings.allowed_origins, "allowed_origins", _ORIGIN),
        rate=RateLimit(settings.rate_limit or "").prepare(),
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listed(text: str | None, name: str, form: re.Pattern[str]) -> frozenset[str]:
    entries = [entry.strip().lower() for entry in (text or "").split(",") if entry.strip()]
    for entry in entries:
        if not form.match(entry):
            raise SettingsRejected("settings_invalid", f"The setting '{name}' cannot have '{entry}'.")
    return frozenset(entries)
