"""fastdl against its peers: `python -m benchmarks.peers [--rows P1,P5,...] [--quick] [--out FOLDER] [--readme]`.

Every side runs in a process of its own, at one and at two threads (its better setting counts); slices of all sides are
measured in turn, warm, and a ratio is that of the medians, peer over fastdl. Peers are given batches that are ready;
`Trainer.fit` shuffles and gathers its own. A peer that is not installed is left out: `pip install ".[peers]"`.

RESULTS.md, results.json and results.png are written into FOLDER, benchmarks/ unless told otherwise; rows that are not
measured stay there as they were, each with the run that it comes from. Ctrl-C, or 20 minutes on a machine that is too
busy, ends the run and keeps what is measured so far.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import benchmarks.rows
from benchmarks.interleave import FULL, QUICK, Interleaver
from benchmarks.machine import free_cores, load, machine
from benchmarks.report import as_markdown, as_text, losses, with_section
from benchmarks.results import Entry, Results
from benchmarks.row import Row, chosen, in_order

assert benchmarks.rows
FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
MINUTES = 20  # after which no further row is begun


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", metavar="P1,P5,...", help="these rows only; the others stay as they were")
    parser.add_argument("--quick", action="store_true", help="in a minute or two, and rougher")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=FOLDER, help="where RESULTS.md, results.json and results.png go"
    )
    parser.add_argument("--readme", action="store_true", help="measure nothing; write README.md's section anew")
    options = parser.parse_args(arguments)
    try:
        rows = chosen(options.rows.split(",") if options.rows is not None else None)
        options.out.mkdir(parents=True, exist_ok=True)
        before = Results.load(options.out / "results.json")
        if options.readme:
            if not before.entries:
                raise ValueError(f"{options.out / 'results.json'}: expected measured rows, found none")
            README.write_text(with_section(README.read_text(), before))
            return 0
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    about, entries = measured(rows, quick=options.quick)
    of_run = Results((about,), tuple(entries))
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    print(f"\n{as_text(of_run)}\n")
    print("\n".join(losses(of_run)))
    if options.out == FOLDER:
        print("README.md stays as it is: --readme writes its section anew")
    write(before.merged(about, entries, [row.name for row in in_order()]), options.out)
    return 1 if "interrupted" in about or any(entry.failure for entry in entries) else 0


def measured(rows: list[Row], *, quick: bool) -> tuple[dict[str, str], list[Entry]]:
    """What is known of the run, and its entries: all of these rows, or those before Ctrl-C."""
    start, about, entries = time.perf_counter(), machine(), []
    interleaver = Interleaver(rows, QUICK if quick else FULL)
    with suppress(KeyboardInterrupt), closing(interleaver.measure()) as entered:
        for entry in entered:
            entries.append(entry)
            print(f"{entry.name} ({len(entries)} of {len(rows)})", file=sys.stderr, flush=True)
            if time.perf_counter() - start > 60 * MINUTES:
                break
    if len(entries) < len(rows):
        about["interrupted"] = f"after {len(entries)} of {len(rows)} rows"
    about |= interleaver.versions | {
        "load after": load(),
        "cores free after": free_cores(),
        "pace": "quick, and rough" if quick else "full",
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    return about, entries


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
