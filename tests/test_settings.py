from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from index.errors import SettingsRejected
from service.settings import Settings, load_settings, show_settings


def test_flags_beat_variables_beat_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fundstelle.toml"
    file.write_text('port = 1\nhost = "file"\nmodel = "file"\n')
    settings = load_settings({"port": 3, "host": None}, {"FUNDSTELLE_PORT": "2", "FUNDSTELLE_HOST": "env"}, file)
    assert (settings.port, settings.host, settings.model) == (3, "env", "file")


def test_the_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "fundstelle.toml"
    file.write_text("port = 7")
    assert load_settings({}, {"FUNDSTELLE_CONFIG": str(file)}).port == 7


@pytest.mark.parametrize(
    ("flags", "environment", "content"),
    [
        ({}, {"FUNDSTELLE_PROT": "1"}, ""),
        ({}, {}, "prot = 1"),
        ({}, {"FUNDSTELLE_PORT": "many"}, ""),
        ({"port": 70_000}, {}, ""),
        ({}, {}, "port = "),
        ({"min_confidence": 2}, {}, ""),
    ],
)
def test_unknown_keys_and_wrong_values_are_errors(
    tmp_path: Path, flags: dict[str, object], environment: dict[str, str], content: str
) -> None:
    file = tmp_path / "fundstelle.toml"
    file.write_text(content)
    with pytest.raises(SettingsRejected):
        load_settings(flags, environment, file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsRejected):
        load_settings({}, {}, tmp_path / "absent.toml")


def test_settings_can_be_shown_with_secrets_hidden() -> None:
    class WithSecret(Settings):
        key: SecretStr = SecretStr("hunter2")

    shown = show_settings(WithSecret(data=Path("x")))
    assert shown["data"] == "x"
    assert "hunter2" not in str(shown)
