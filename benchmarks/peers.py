"""fastdl against its peers: `python -m benchmarks.peers [--rows P1,P5,...] [--level v3] [--against PYTHON] [--quick]`.

Every side runs in a process of its own, at one and at two threads (its better setting counts); slices of all sides are
measured in turn, warm, and a ratio is that of the medians, peer over fastdl. Peers are given batches that are ready;
`Trainer.fit` shuffles and gathers its own. A peer that is not installed is left out: `pip install ".[peers]"`.

`--level v3` holds fastdl and every peer to AVX2, and leaves out a library that does not do as asked. `--against PYTHON`
adds the fastdl that this interpreter imports as a side of each row. A row in which the fastdl measured has less than 0.97
of its speed is measured again, and fails after the third time; `--no-peers` leaves the other libraries out.

RESULTS.md, results.json and results.png are written into the folder of `--out`, benchmarks/ by default; rows and levels
that are not measured stay there as they were, each with the run that it comes from. With `--against` nothing is written
without `--out`. Ctrl-C, or 20 minutes on a machine that is too busy, ends the run and keeps what is measured so far.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import benchmarks.rows
from benchmarks.interleave import FULL, OTHER, QUICK, Interleaver, slower_than_other
from benchmarks.level import LEVELS
from benchmarks.machine import free_cores, load, machine
from benchmarks.report import as_markdown, as_text, losses, with_section
from benchmarks.results import Entry, Results
from benchmarks.row import chosen, in_order

assert benchmarks.rows
FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
MINUTES = 20  # after which no further row is begun


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", metavar="P1,P5,...", help="these rows only; the others stay as they were")
    parser.add_argument("--quick", action="store_true", help="in a minute or two, and rougher")
    parser.add_argument("--level", choices=LEVELS, help="hold every side to this CPU level")
    parser.add_argument("--against", metavar="PYTHON", help="the interpreter of an environment with another fastdl")
    parser.add_argument("--no-peers", action="store_true", help="leave the other libraries out")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where RESULTS.md, results.json and results.png go")
    parser.add_argument("--readme", action="store_true", help="measure nothing; write README.md's section anew")
    options = parser.parse_args(arguments)
    try:
        rows = chosen(options.rows.split(",") if options.rows is not None else None)
        if options.against is not None and shutil.which(options.against) is None:
            raise ValueError(f"--against: expected an interpreter, got {options.against!r}")
        writes, folder = options.against is None or options.out is not None, options.out or FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        before = Results.load(folder / "results.json")
        if options.readme:
            if not before.entries:
                raise ValueError(f"{folder / 'results.json'}: expected measured rows, found none")
            README.write_text(with_section(README.read_text(), before))
            return 0
        about = machine(options.level)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    pace = QUICK if options.quick else FULL
    interleaver = Interleaver(rows, pace, options.level, options.against, peers=not options.no_peers)
    entries = measured(interleaver, len(rows), about)
    about["pace"] = "quick, and rough" if options.quick else "full"
    of_run = Results((about,), tuple(entries))
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(f"\n{as_text(of_run)}\n")
    print("\n".join(losses(of_run)))
    if writes:
        if folder == FOLDER:
            print("README.md stays as it is: --readme writes its section anew")
        write(before.merged(about, entries, [row.name for row in in_order()]), folder)
    slower = [entry for entry in entries if slower_than_other(entry) or OTHER in entry.left_out]
    return 1 if "interrupted" in about or slower or any(entry.failure for entry in entries) else 0


def measured(interleaver: Interleaver, rows: int, about: dict[str, str]) -> list[Entry]:
    """The entries of a run: of all rows, or of those before Ctrl-C; what is known of it afterwards is added to `about`."""
    start, entries = time.perf_counter(), []
    with suppress(KeyboardInterrupt), closing(interleaver.measure()) as entered:
        for entry in entered:
            entries.append(replace(entry, level=about["level"]))
            print(f"{entry.name} ({len(entries)} of {rows})", file=sys.stderr, flush=True)
            if time.perf_counter() - start > 60 * MINUTES:
                break
    if len(entries) < rows:
        about["interrupted"] = f"after {len(entries)} of {rows} rows"
    about |= interleaver.versions | {
        "load after": load(),
        "cores free after": free_cores(),
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    return entries


def write(results: Results, folder: Path) -> None:
    """RESULTS.md, results.json and, where matplotlib is installed, results.png."""
    results.save(folder / "results.json")
    picture = None
    try:
        from benchmarks.picture import draw

        draw(results, folder / "results.png")
        picture = "results.png"
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        print("results.png is not drawn: matplotlib is not installed", file=sys.stderr)
    (folder / "RESULTS.md").write_text(as_markdown(results, picture))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("python -m benchmarks.peers: interrupted before or after measuring")
