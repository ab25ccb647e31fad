"""fastdl against its peers: `python -m benchmarks.peers [--rows P1,P5,...] [--quick] [--out FOLDER]`.

Every side runs in a process of its own, at one and at two threads (its better setting counts); slices of all sides are
measured in turn, warm, and a ratio is that of the medians, peer over fastdl. Peers are given batches that are ready;
`Trainer.fit` shuffles and gathers its own. A peer that is not installed is left out: `pip install fastdl-nn[peers]`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import benchmarks.rows
from benchmarks.interleave import FULL, QUICK, Failure, Interleaver, Result
from benchmarks.machine import free_cores, load, machine
from benchmarks.report import as_json, as_markdown, as_text, losses
from benchmarks.row import chosen

assert benchmarks.rows


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", metavar="P1,P5,...", help="these rows only")
    parser.add_argument("--quick", action="store_true", help="in half a minute, and rougher")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write peers.md and peers.json there")
    options = parser.parse_args()
    try:
        rows = chosen(options.rows.split(",") if options.rows else None)
    except ValueError as error:
        parser.error(str(error))
    start, about = time.perf_counter(), machine()
    results: list[Result] = []
    failures: list[Failure] = []
    interleaver = Interleaver(rows, QUICK if options.quick else FULL)
    for measured in interleaver:
        print(measured.row.name, file=sys.stderr, flush=True)
        if isinstance(measured, Failure):
            failures.append(measured)
        else:
            results.append(measured)
    about |= interleaver.versions | {
        "load after": load(),
        "cores free after": free_cores(),
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(f"\n{as_text(results)}\n")
    print("\n".join(losses(results, failures)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "peers.md").write_text(as_markdown(results, failures, about))
        (options.out / "peers.json").write_text(as_json(results, failures, about))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
