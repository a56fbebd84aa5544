"""Run benchmark cases: ``python -m bench [case …]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cases import CASES, ON_REQUEST, RESULTS, Settings, load_case
from bench.report import format_table, write_report


def main(arguments: list[str] | None = None) -> int:
    """Run the cases named, by default all that don't take too long, and print a table of each.

    Returns 1 if a case found something that must not be, and says what on the standard error.
    """
    options = _parse(arguments)
    if options.list:
        width = max(map(len, CASES))
        print("\n".join(f"{name:{width}}  {summary}" for name, summary in CASES.items()))
        return 0
    settings = Settings(repeats=options.repeats, scale=options.scale, minutes=options.minutes, results=options.results)
    status = 0
    for name in options.case or [name for name in CASES if name not in ON_REQUEST]:
        report = load_case(name)(settings)
        path = write_report(report, options.results)
        print(f"{format_table(report)}\n\nwritten to {path}\n", flush=True)
        for fault in report.faults:
            print(f"{name}: {fault}", file=sys.stderr)
            status = 1
    return status


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Run benchmark cases, all by default.")
    parser.add_argument("case", nargs="*", help=f"any of: {', '.join(CASES)}")
    parser.add_argument("--list", action="store_true", help="say what there is and leave")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each contender (default: 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of work (default: 1)")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long `soak` lasts (default: 30)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where JSON and PNG go (default: bench/results)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.case if name not in CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; there are {', '.join(CASES)}")
    if options.repeats < 1 or options.scale <= 0 or options.minutes <= 0:
        parser.error("--repeats must be at least 1, --scale and --minutes above 0")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
