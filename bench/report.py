"""What a case found out, for the eye and for the next run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from asyncio_loader.cores import count_cores

__all__ = ["Report", "format_table", "median_share", "spread", "write_report"]

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Report:
    """Attributes:
    case: name of the case.
    title: what was measured, with its sizes, in a line.
    columns: heads of the table; units stand in here.
    rows: cells, numbers as they shall be shown.
    raw: every single measurement, for whoever doubts a median.
    faults: what must not be, a line each; the run ends with status 1 then.
    parts: tables of the same run that have columns of their own; they are shown below.
    """

    case: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    raw: dict[str, Any] = field(default_factory=dict)
    faults: Sequence[str] = ()
    parts: Sequence[Report] = ()


def format_table(report: Report) -> str:
    """The title and a table: the first column to the left, the figures to the right."""
    lines = [list(report.columns), *map(list, report.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(report.columns))]

    def join(cells: Sequence[str]) -> str:
        padded = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    table = "\n".join([f"{report.case}: {report.title}", "", join(lines[0]), rule, *map(join, lines[1:])])
    return "\n\n".join([table, *map(format_table, report.parts)])


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Cells: the median, the least and the most of the runs."""
    return f"{median(values):.0f}", f"{min(values):.0f}", f"{max(values):.0f}"


def median_share(values: Sequence[float], of: Sequence[float]) -> float:
    """The median of what each run is of the one beside it; they took turns, so both met the same machine."""
    return median(value / base for value, base in zip(values, of, strict=True))


def write_report(report: Report, directory: Path) -> Path:
    """Write it as JSON with where and when it was made; the file's name is case and time (UTC)."""
    now = datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{report.case}-{now:%Y%m%dT%H%M%SZ}.json"
    document = {**asdict(report), "date": now.isoformat(timespec="seconds"), **_circumstances()}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def _circumstances() -> dict[str, Any]:
    return {
        "command": " ".join([_program(), *sys.argv[1:]]),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": count_cores(),
        "load": os.getloadavg()[0],
    }


def _program() -> str:
    name = Path(sys.argv[0]).name
    return "python -m bench" if name == "__main__.py" else f"python bench/{name}"


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
