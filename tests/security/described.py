"""F01: the service does what its OpenAPI document says, whatever is sent: schemathesis, all checks and all phases.

Run twice against servers of their own over HTTP: without keys, and with those of two tenants and an admin, so that
ignored keys and documents of others are looked for as well. It generates calls until there are enough; each run of it
has the next seed. What differs from its defaults: :mod:`tests.security.described_check`.

    python -m tests.security.described --trials 3000
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.durability.common import ROOT, finish, parse_arguments
from tests.security.broken import DESCRIBED
from tests.security.served import serving

RESULTS = ROOT / "docs" / "results" / "security"
BREAKS = tuple(DESCRIBED)
FIXED = 900
"""Calls, about, that a run makes however few are asked for."""
CALLS = 16
"""Operations there are, about."""
SLOWEST = 30.0
"""Seconds that no answer may take, on a machine that does other things too."""
_SETTINGS = """
hooks = "tests.security.described_check"

[checks.positive_data_acceptance]
# Those of described_check, which looks at their codes: refused for what they mean, not for their form.
expected-statuses = [
  "2xx", "3xx", "401", "403", "404", "409", "410", "412", "413", "415", "422", "429"
]
"""
_TENANTS = """
[auth.wfc]
path = "keys.json"
peers = ["one", "other"]
"""


@dataclass
class Found:
    """What the runs found."""

    calls: int = 0
    runs: int = 0
    failures: Counter[str] = field(default_factory=Counter)


def _settings(folder: Path, secrets: Mapping[str, str]) -> Path:
    """Write the settings of a run; the tenants' keys come before the admin's, which opens what theirs do not."""
    file = folder / "schemathesis.toml"
    file.write_text(_SETTINGS + (_TENANTS if secrets else ""), "utf-8")
    entries = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {secrets[name]}"}]}
        for name in ("one", "other", "admin")
        if name in secrets
    ]
    (folder / "keys.json").write_text(json.dumps({"auth": entries}), "utf-8")
    return file


def _once(folder: Path, address: str, seed: int, examples: int, paths: Sequence[str], found: Found) -> None:
    """Run it once, for some addresses or for all, and add what it found."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "--no-color",
        "run", f"{address}/openapi.json", "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful",
        "--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure", "--no-shrink",
        "--max-response-time", str(SLOWEST), "--request-timeout", str(2 * SLOWEST), "--generation-database", "none",
        "--suppress-health-check", "all", "--report", "json", "--report-json-path", str(report),
    ]  # fmt: skip
    command += [word for path in paths for word in ("--include-path", path)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if not report.exists():
        found.failures[f"no report: {done.stdout[-800:]}{done.stderr[-800:]}"] += 1
        return
    said = json.loads(report.read_text("utf-8"))
    found.calls += said["test_cases"]["generated"]
    found.runs += 1
    for failure in said["failures"]:
        found.failures[_told(failure)] += 1
    for error in said["errors"]:
        found.failures[f"error: {json.dumps(error)[:500]}"] += 1
    if not said["complete"] or said["test_cases"]["errored"]:
        found.failures["not everything was run"] += 1
    if said["failures"] or said["errors"]:
        print(done.stdout, file=sys.stderr)
    if done.returncode and not found.failures:
        found.failures[f"exit code {done.returncode}: {done.stdout[-800:]}"] += 1


def _told(failure: Mapping[str, Any]) -> str:
    return json.dumps(failure, ensure_ascii=False)[:900]


def run(
    trials: int,
    seed: int,
    control: str | None = None,
    kinds: Sequence[str] = ("open", "keys"),
    paths: Sequence[str] = (),
) -> dict[str, Any]:
    """Return figures of so many calls, half of them with keys.

    Args:
        trials: how many, at least.
        seed: of the first run.
        control: what is broken.
        kinds: "keys": with keys; "open": without.
        paths: addresses to look at; all, if there are none.
    """
    found = {kind: Found() for kind in kinds}
    faults: list[str] = []
    for kind, mine in found.items():
        wanted, options = trials // len(kinds), ["--keys"] if kind == "keys" else []
        with (
            tempfile.TemporaryDirectory() as name,
            serving(Path(name), *options, *(["--break", control] if control else [])) as served,
        ):
            _settings(Path(name), served.secrets)
            address = f"http://127.0.0.1:{served.port}"
            while mine.calls < wanted and not mine.failures:
                examples = min(200, max(5, (wanted - mine.calls - FIXED) // CALLS))
                _once(Path(name), address, seed + mine.runs, examples, paths, mine)
            faults += served.faults()
    failures = Counter(faults) + sum((each.failures for each in found.values()), Counter())
    return {
        "id": "F01",
        "trials": sum(each.calls for each in found.values()),
        "violations": sum(failures.values()),
        "examples": list(failures)[:20],
        "calls": {kind: each.calls for kind, each in found.items()},
        "runs": {kind: each.runs for kind, each in found.items()},
    }


def main() -> None:
    """Generate as many calls as asked for."""
    arguments = parse_arguments(__doc__, 3000, BREAKS)
    began = time.monotonic()
    finish(arguments, run(arguments.trials, arguments.seed, arguments.control), began, folder=RESULTS)


if __name__ == "__main__":
    main()
