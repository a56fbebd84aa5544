"""Ours and the peers on the same server in one run: ``python bench/compare.py [get|sizes|loaders|tail|rtt|all] …``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if not __package__:
    # As a script its own folder is where Python looks for modules, and `bench` is not in there.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.comparison import Options, Section
from bench.comparison.get import choose_clients, choose_for_sizes, compare_clients, compare_sizes
from bench.comparison.load import (
    choose_far_loaders,
    choose_loaders,
    compare_loaders,
    compare_rtt,
    compare_tail,
)
from bench.comparison.plot import draw
from bench.measure import MIB
from bench.peers import CLIENTS, LOADERS
from bench.report import format_table, write_report

__all__ = ["SECTIONS", "main"]

_RESULTS = Path(__file__).resolve().parent / "results"

SECTIONS = {
    "get": Section(
        summary="CPU time per GET and GET/s of every client; with --tls over https, too",
        choose=choose_clients,
        compare=compare_clients,
    ),
    "sizes": Section(
        summary="the same for small to large objects and few to many in flight, ours and the limit alone",
        choose=choose_for_sizes,
        compare=compare_sizes,
    ),
    "loaders": Section(
        summary="decoded images per second of whole loaders over a store with the latency of S3",
        choose=choose_loaders,
        compare=compare_loaders,
    ),
    "tail": Section(
        summary="the same with one request in two hundred at a second",
        choose=choose_loaders,
        compare=compare_tail,
    ),
    "rtt": Section(
        summary="how much of its rate a loader keeps when the store is 150 ms away in place of 1",
        choose=choose_far_loaders,
        compare=compare_rtt,
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sections named, all of them by default; print a table of each, and write it as JSON and PNG.

    Sections that have none of the contenders in ``--only`` are left out.
    """
    parsed = _parse(arguments)
    options = Options(
        repeats=parsed.repeats,
        scale=parsed.scale,
        only=parsed.only,
        sizes_bytes=parsed.size,
        in_flight=parsed.in_flight,
        tls=parsed.tls,
        workers=parsed.workers,
        loader_in_flight=parsed.loader_in_flight,
        window_bytes=parsed.window_mib * MIB,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    for name in parsed.section:
        started_s = time.monotonic()
        for outcome in SECTIONS[name].compare(options):
            path = write_report(outcome.report, parsed.results)
            lines = [format_table(outcome.report), *outcome.notes, "", f"written to {path}"]
            lines.append(draw(outcome.figure, path.with_suffix(".png")))
            print("\n".join(lines) + "\n", flush=True)
        minutes, seconds = divmod(round(time.monotonic() - started_s), 60)
        options.say(f"{name}: took {minutes} min {seconds:02} s")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python bench/compare.py",
        description="Ours and the peers on the same server in one run.",
        epilog="\n".join(
            [
                "sections:",
                *(f"  {name:8} {section.summary}" for name, section in SECTIONS.items()),
                f"clients: {', '.join(peer.name for peer in CLIENTS)}",
                f"loaders: {', '.join(peer.name for peer in LOADERS)}",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("section", nargs="*", default=["all"], help="any of the sections below, or all (the default)")
    add("--only", type=_names, default=[], metavar="NAME,…", help="these contenders alone")
    add("--repeats", type=int, default=5, help="measurements of each contender (default: 5)")
    add("--scale", type=float, default=1.0, help="share of the full amount of work (default: 1)")
    add("--size", type=int, nargs="+", default=[], metavar="BYTES", help="of the objects of get and sizes")
    add("--in-flight", type=int, nargs="+", default=[], metavar="N", help="GETs at the same time, of get and sizes")
    add("--tls", action="store_true", help="get and sizes over https, too (needs nginx and trustme)")
    add("--workers", type=int, default=2, help="threads or processes of a loader (default: 2)")
    add(
        "--loader-in-flight",
        type=int,
        default=Options().loader_in_flight,
        metavar="N",
        help="GETs at the same time of loaders that can be told (default: %(default)d); ours finds its own",
    )
    add(
        "--window-mib",
        type=int,
        default=Options().window_bytes // MIB,
        metavar="N",
        help="window_bytes of our loaders (default: %(default)d)",
    )
    add("--results", type=Path, default=_RESULTS, help="where JSON and PNG go (default: bench/results)")
    parsed = parser.parse_args(arguments)
    wrong = [name for name in parsed.section if name not in SECTIONS and name != "all"]
    if wrong:
        parser.error(f"there is no section {wrong[0]!r}; there are {', '.join(SECTIONS)} and all")
    known = {peer.name for peer in (*CLIENTS, *LOADERS)}
    unknown = [name for name in parsed.only if name not in known]
    if unknown:
        parser.error(f"there is no contender {unknown[0]!r}; --help lists them")
    named = SECTIONS if "all" in parsed.section else dict.fromkeys(parsed.section)
    parsed.section = [name for name in named if SECTIONS[name].choose(parsed.only)]
    if not parsed.section:
        parser.error(f"none of {', '.join(parsed.only)} takes part in {', '.join(named)}")
    counts = [
        parsed.repeats,
        parsed.workers,
        *parsed.size,
        *parsed.in_flight,
        parsed.loader_in_flight,
        parsed.window_mib,
    ]
    if min(counts) < 1 or parsed.scale <= 0:
        parser.error("numbers must be at least 1, and --scale above 0")
    return parsed


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    raise SystemExit(main())
