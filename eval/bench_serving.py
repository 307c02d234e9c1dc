"""The running service: time to ready, latency of one client, resident memory after many questions.

    python -m eval.bench_serving [--questions 1000]

Indexes ../shared/seeds (the sample where that is missing) into a temporary folder, starts ``fundstelle serve`` on it
and asks one question after the other. Results go to eval/results/serving.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped,unused-ignore]

from eval.run import provenance

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
RESULTS = Path(__file__).parent / "results" / "serving.json"


def questions(count: int) -> list[str]:
    """Return ``count`` questions, as many different ones as there are."""
    found: list[str] = []
    for file in (SHARED / "data" / "seed-questions.jsonl", ROOT / "eval" / "data" / "sample.jsonl"):
        if file.is_file():
            found += [json.loads(line)["question"] for line in file.read_text("utf-8").splitlines()]
    xquad = SHARED / "data" / "xquad-dev" / "questions.jsonl"
    if xquad.is_file():
        for line in xquad.read_text("utf-8").splitlines():
            found += [json.loads(line)["question"][language] for language in ("en", "de")]
    return [found[number % len(found)] for number in range(count)]


def wait_until_ready(process: subprocess.Popen[str]) -> str:
    """Return the service's address once it says that it is ready."""
    if process.stderr is None:
        raise RuntimeError("the service's stderr is not captured")
    for line in process.stderr:
        if match := re.search(r"http://127\.0\.0\.1:\d+", line):
            with urllib.request.urlopen(f"{match.group()}/readyz", timeout=30) as response:  # noqa: S310 - loopback
                if json.load(response)["status"] == "ready":
                    return match.group()
    raise RuntimeError("the service did not start")


def ask(address: str, question: str) -> float:
    """Ask one question; return seconds until the whole answer was there."""
    body = json.dumps({"question": question}).encode()
    request = urllib.request.Request(f"{address}/v1/ask", body, {"content-type": "application/json"})  # noqa: S310
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
        json.load(response)
    return time.perf_counter() - started


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    count = parser.parse_args().questions
    documents = SHARED / "seeds" if (SHARED / "seeds").is_dir() else ROOT / "sample"
    command = [sys.executable, "-m", "service"]
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "data")
        subprocess.run([*command, "index", str(documents), "--data", data], check=True, cwd=ROOT)  # noqa: S603
        load = os.getloadavg()[0]
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            [*command, "serve", "--data", data, "--port", "0"], stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            address = wait_until_ready(process)
            ready = time.perf_counter() - started
            seconds = [ask(address, question) for question in questions(count)]
            memory = psutil.Process(process.pid).memory_info().rss
        finally:
            process.terminate()
            process.wait(15)
    milliseconds = np.array(seconds) * 1000
    report = {
        **provenance(),
        "documents": documents.name,
        "questions": count,
        "load_before": round(load, 2),
        "seconds_to_ready": round(ready, 2),
        "resident_megabytes": round(memory / 2**20),
        "milliseconds": {
            f"p{percentile}": round(float(np.percentile(milliseconds, percentile)), 1) for percentile in (50, 95, 99)
        },
    }
    print(json.dumps(report, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
