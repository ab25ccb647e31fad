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
from benchmarks.interleave import FULL, QUICK, Interleaver
from benchmarks.report import as_json, as_markdown, as_text, losses, machine
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
    start, about, results = time.perf_counter(), machine(), []
    with Interleaver(QUICK if options.quick else FULL) as interleaver:
        for each in rows:
            print(f"{each.name} ...", file=sys.stderr, end=" ", flush=True)
            results.append(interleaver.measure(each))
        print(file=sys.stderr)
        about |= interleaver.versions | {"seconds": f"{time.perf_counter() - start:.0f}"}
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(f"\n{as_text(results)}\n")
    print("\n".join(losses(results)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "peers.md").write_text(as_markdown(results, about))
        (options.out / "peers.json").write_text(as_json(results, about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
