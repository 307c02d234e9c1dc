"""F02: hostile files are uploaded to the real service, which must not even notice.

    python -m tests.hostile.uploads [--trials 500] [--real 500] [--seed S] [--bombs] [--quick] [--break CONTROL]
        [--save]

Serves the sample as ``python -m service serve`` does and uploads mutated files (:mod:`mutate`), three requests at a
time, one to six files each. The first ``--real`` of them are embedded with the real model; the others aim at the
readers all the same and go to a service with a tiny one, several times as fast. With ``--bombs`` another service, its
model tiny, too, then gets every file made by hand (:mod:`bombs`): some hold millions of characters. All the while
questions are asked, five a second. Uploads pause every few seconds, so that a question's usual time is measured in
the same minutes. Afterwards every document is read again, quotes of each are held against its text and their
receipts, and the service is stopped. With ``--quick``, for the tests, all services have the tiny model, and files 3 s
of the processor.

Looked for: a status of 500 or more, or a traceback in the log; a file that ends neither taken in nor with a stable
code, or a bomb with another one than is expected of it; a quote that is not in its document; a request that takes
longer than its files may; growth of more than 50 MiB; a child larger than its limit; questions whose p99 more than
doubles; anything of the host in a document; anything written outside of the data folder; processes that outlive the
service. ``tests.hostile.served`` has the null controls.

Memory is what the service and its readers' processes hold for themselves (RssAnon of /proc) at rest: after warming
up, and after all is over. Warming up takes in short and long good documents, so that the model has worked on texts of
every length. Documents that are taken in have vectors in memory, four bytes a dimension; as many bytes as the service
says it has vectors more are no growth (``vectors`` in the figures, ``grown_mib`` is without). The last service is
also warmed up with good documents as long as the longest bombs, and measured at the end once all documents are
removed. What is mapped from files (the model, libraries) is not counted; the kernel may take that back. The figures
have all resident memory beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from index import Library, find_files, open_encoder, read_file
from index.load import FoundFile
from tests.durability import common
from tests.durability.common import ROOT, finish, parse_arguments
from tests.files import FORMATS, Article, as_bytes
from tests.hostile.bombs import BOMBS
from tests.hostile.reading_back import read_everything, remove_everything
from tests.hostile.running import (
    MIB,
    Asking,
    Memory,
    Service,
    Watch,
    listing,
    percentile,
    scratch_folder,
    serving,
)
from tests.hostile.served import CONTROLS
from tests.hostile.uploading import SECRET, UPLOADERS, Files, Findings, Uploading, bombs, damaged
from tests.tiny import TinyEncoder

GROWTH = 50 * MIB
CHILD = 2**30 + 64 * MIB
BUSY, QUIET = 8.0, 4.0  # seconds
PACE = 0.2  # seconds between two questions

_WARM = Article("Warm", ("The ferry leaves every twenty minutes. It takes bicycles, too.",), {0: "Ferry"})


def questions() -> list[str]:
    """Return the questions of the sample."""
    lines = (ROOT / "eval" / "data" / "sample.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines]


def phase(
    arguments: argparse.Namespace, scratch: Path, todo: Iterator[Files], *, tiny: bool, keep: bool
) -> dict[str, Any]:
    """Serve, upload, look at everything; return the figures.

    Args:
        arguments: of the command line.
        scratch: a folder of its own.
        todo: what is uploaded.
        tiny: take the tiny model.
        keep: measure the memory with all that was taken in; otherwise without it, once it is removed again.
    """
    findings = Findings(tight=arguments.quick)
    encoder = TinyEncoder() if tiny else open_encoder()
    with Library(scratch / "data", encoder, writable=True) as library:
        library.add([read_file(found) for found in find_files([ROOT / "sample"]) if isinstance(found, FoundFile)])
    with serving(scratch, _command(arguments, tiny)) as service, Watch(service) as watch:
        _warm_up(service, findings)
        if not keep and not arguments.control:
            _stretch(service, findings)
        outside = listing(scratch)
        before, vectors = watch.at_rest(), _vectors(service)
        watch.reset()
        with Asking(service, questions(), PACE) as asking:
            _alternate(asking, Uploading(service, todo, findings))
        peak = watch.peak
        documents, quotes = read_everything(service, findings)
        full = watch.at_rest()
        if not keep:
            remove_everything(service, findings)
        more = 4 * encoder.info.dimension * (_vectors(service) - vectors)
        after = _settled(watch, before.held + more + GROWTH)
        grown = after.held - before.held - more
        if grown > GROWTH:
            findings.note("memory", f"{grown / MIB:.0f} MiB more than before, besides {more / MIB:.0f} of vectors")
        if listing(scratch) != outside:
            findings.note("outside", f"{sorted(set(listing(scratch).items()) ^ set(outside.items()))}")
    if service.process.returncode:
        findings.note("ended", f"the service ended with {service.process.returncode}")
    for line in service.troubles:
        findings.note("log", line)
    if watch.largest_child > CHILD:
        findings.note("child", f"a process of {watch.largest_child / MIB:.0f} MiB")
    if left := watch.left(10):
        findings.note("left", f"{len(left)} processes outlived the service")
    times = _times(asking, findings, arguments.slower)
    for example in findings.examples:
        print(example)
    return {
        "model": encoder.info.name,
        "violations": findings.kinds.total(),
        "kinds": dict(findings.kinds),
        "files": findings.files,
        "requests": findings.requests,
        "ends": _nested(findings.ends),
        "documents_read_afterwards": documents,
        "quotes_checked": quotes,
        "slowest_request_s": round(findings.slowest, 1),
        "memory_mib": {
            "before": before.figures(),
            "full": full.figures(),
            "after": after.figures(),
            "vectors": round(more / MIB),
            "peak_resident": round(peak / MIB),
        },
        "grown_mib": round(grown / MIB, 1),
        "largest_child_mib": round(watch.largest_child / MIB),
        "processes": len(watch.seen),
        **times,
        "load": [round(each, 1) for each in os.getloadavg()],
        **({"examples": findings.examples[:5]} if findings.examples else {}),
    }


def _command(arguments: argparse.Namespace, tiny: bool) -> list[str]:
    if not (tiny or arguments.quick or arguments.control):
        return ["-m", "service"]
    return [
        *("-m", "tests.hostile.served"),
        *(["--tiny"] if tiny else []),
        *(["--tight"] if arguments.quick else []),
        *(["--break", arguments.control] if arguments.control else []),
    ]


def _vectors(service: Service) -> int:
    """Return how many vectors the service says it holds."""
    found = re.findall(
        r"^fundstelle_index_vectors\{.*\} (\S+)$", service.call("GET", "/metrics").content.decode(), re.M
    )
    return sum(int(float(each)) for each in found)


def _warm_up(service: Service, findings: Findings) -> None:
    """Have everything loaded and started that is on first use, both processes that read files included."""
    for number in range(4):
        files = [(f"warm{number}.{kind}", as_bytes(_WARM, kind)) for kind in FORMATS]
        threads = [
            threading.Thread(target=_expect_taken, args=(service, files[shift:] + files[:shift]))
            for shift in range(UPLOADERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    _take_in(service, [(f"long{each}.txt", _long(each, 800)) for each in range(UPLOADERS)])
    remove_everything(service, findings, "long")
    for question in itertools.islice(itertools.cycle(questions()), 60):
        service.ask(question)


def _stretch(service: Service, findings: Findings) -> None:
    """Have good documents taken in that are as long as the longest bombs, and remove them again.

    What the allocator keeps in pieces afterwards grows with the largest documents there were, not with their number.
    """
    for _ in range(2):
        _take_in(service, [(f"long{each}.txt", _long(each, 20_000)) for each in range(UPLOADERS)])
        remove_everything(service, findings, "long")


def _take_in(service: Service, files: Files) -> None:
    """Upload good files, all at the same time."""
    threads = [threading.Thread(target=_expect_taken, args=(service, [file])) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _long(number: int, paragraphs: int) -> bytes:
    parts = (
        f"The ferry number {number} leaves every {each} minutes. It takes bicycles, too.\n\n"
        for each in range(paragraphs)
    )
    return "".join(parts).encode()


def _expect_taken(service: Service, files: Files) -> None:
    for name, data in files:
        reply = service.upload([(name, data)])
        if reply.status != 201:
            print(f"{name}, which is good, ends with {reply.content!r}")


def _alternate(asking: Asking, uploading: Uploading) -> None:
    """Upload for some seconds, pause for some, until all is uploaded."""
    uploading.start()
    while not uploading.done:
        asking.busy = False
        time.sleep(QUIET)
        asking.busy = True
        uploading.go_on()
        until = time.monotonic() + BUSY
        while time.monotonic() < until and not uploading.done:
            time.sleep(0.1)
        uploading.pause()
        asking.busy = None
        time.sleep(0.5)
    asking.busy = False
    time.sleep(QUIET)
    asking.busy = None


def _settled(watch: Watch, most: int) -> Memory:
    """Return the memory held once it is ``most`` bytes or less, or after a while the least that it was."""
    least = watch.at_rest()
    until = time.monotonic() + 40
    while time.monotonic() < until and least.held > most:
        time.sleep(1)
        least = min(least, watch.at_rest(), key=lambda each: each.held)
    return least


def _times(asking: Asking, findings: Findings, slower: float) -> dict[str, Any]:
    quiet = [each.seconds * 1000 for each in asking.asked if not each.busy]
    busy = [each.seconds * 1000 for each in asking.asked if each.busy]
    ratio = percentile(busy, 0.99) / max(percentile(quiet, 0.99), 1e-9)
    if ratio > slower:
        findings.note("slower", f"p99 of questions {ratio:.1f} times the usual")
    if any(each.status != 200 for each in asking.asked):
        findings.note("question", f"{Counter(each.status for each in asking.asked)}")
    return {
        "questions": {"quiet": len(quiet), "meanwhile": len(busy)},
        "ms": {
            name: {f"p{round(share * 100)}": round(percentile(values, share), 1) for share in (0.5, 0.95, 0.99)}
            for name, values in (("quiet", quiet), ("meanwhile", busy))
        },
        "p99_ratio": round(ratio, 2),
    }


def _nested(ends: Counter[str]) -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = {}
    for name, count in sorted(ends.items()):
        kind, _, end = name.partition(" ")
        result.setdefault(kind, {})[end] = count
    return result


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the phases that are asked for; return the figures."""
    phases: dict[str, dict[str, Any]] = {}
    real = 0 if arguments.quick else min(arguments.trials, arguments.real)
    if real:
        with scratch_folder(SECRET) as (scratch, _):
            todo = damaged(real, arguments.seed)
            phases["mutated_real"] = phase(arguments, scratch, todo, tiny=False, keep=True)
    if arguments.trials > real:
        with scratch_folder(SECRET) as (scratch, _):
            todo = damaged(arguments.trials, arguments.seed, real)
            phases["mutated"] = phase(arguments, scratch, todo, tiny=True, keep=True)
    if arguments.bombs:
        with scratch_folder(SECRET) as (scratch, host):
            todo = bombs(arguments.seed, host, arguments.only, arguments.most)
            phases["bombs"] = phase(arguments, scratch, todo, tiny=True, keep=False)
    return {
        "id": "F02",
        "trials": arguments.trials,
        "made_by_hand": len(BOMBS) if arguments.bombs and not arguments.only else 0,
        "violations": sum(figures["violations"] for figures in phases.values()),
        **phases,
    }


def main() -> None:
    """Run it and report."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bombs", action="store_true", help="upload the hostile files made by hand, too")
    parser.add_argument("--only", default="", help="those with this in their name only")
    parser.add_argument("--most", type=int, default=None, help="so many of those made by hand at most")
    parser.add_argument("--real", type=int, default=500, help="so many with the real model [default: 500]")
    parser.add_argument("--quick", action="store_true", help="a tiny model, little time for files")
    parser.add_argument("--slower", type=float, default=2.0, help="how much p99 may grow [default: 2]")
    own, sys.argv[1:] = parser.parse_known_args()
    arguments = parse_arguments(__doc__, 500, CONTROLS)
    vars(arguments).update(vars(own))
    common.RESULTS = ROOT / "docs" / "results" / "hostile"
    began = time.monotonic()
    finish(arguments, run(arguments), began)


if __name__ == "__main__":
    main()
