"""The figures and tables of a page, as HTML. All that comes from data is escaped. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncio_loader.datasets.quarantine import Quarantined
from asyncio_loader.record.reading import RunRecord
from asyncio_loader.stats import LoaderStats, judge

__all__ = [
    "durations_table",
    "errors_table",
    "figures",
    "quarantine_table",
    "ranks_table",
    "settings_table",
    "slowest_table",
]

# A page that is to be read: whoever needs all of them has the file.
MOST_QUARANTINED = 500

_ERRORS = {
    "throttled": "refused (503 SlowDown, 429)",
    "timeouts": "timeouts",
    "lost_connections": "lost connections",
    "server_faults": "faults of the server",
    "damaged": "damaged bytes",
    "other_errors": "others (not there, not allowed)",
}


def figures(stats: LoaderStats, active_s: float) -> str:
    """The most telling numbers of a loader.

    Args:
        stats: of the whole run.
        active_s: seconds in which it did anything.
    """
    per_s = 1 / active_s if active_s > 0 else 0.0
    shown = {
        "samples": f"{stats.samples:,}",
        "samples/s": f"{stats.samples * per_s:,.1f}",
        "MB": f"{stats.bytes_fetched / 1e6:,.1f}",
        "MB/s": f"{stats.bytes_fetched * per_s / 1e6:,.1f}",
        "waiting for data": f"{100 * stats.wait_share:.1f} %",
        "seconds": f"{active_s:,.1f}",
        "GETs": f"{stats.gets:,}",
        "retries": f"{stats.retries:,}",
        "hedges (won)": f"{stats.hedges:,} ({stats.hedges_won:,})",
        "refused": f"{stats.throttled:,}",
        "fetched twice": f"{stats.refetches:,}",
        "failed samples": f"{stats.failed:,}",
    }
    tiles = (f"<div><dt>{html.escape(name)}</dt><dd>{value}</dd></div>" for name, value in shown.items())
    return f'<dl class="figures">{"".join(tiles)}</dl>'


def durations_table(stats: LoaderStats) -> str:
    """Quantiles of each stage that has any."""
    stages = {
        "fetch, per object": stats.fetch,
        "transform, per sample": stats.transform,
        "wait, per sample": stats.wait,
        "hand-over, per batch": stats.hand_over,
    }
    rows = [
        [name, f"{of.count:,}", *(f"{1000 * s:,.2f}" for s in (of.mean_s, of.p50_s, of.p95_s, of.p99_s))]
        for name, of in stages.items()
        if of.count
    ]
    return _table(["stage", "count", "mean (ms)", "p50 (ms)", "p95 (ms)", "p99 (ms)"], rows, "durations")


def errors_table(stats: LoaderStats) -> str:
    """GETs that failed, by kind; a line of text where none did."""
    rows = [[said, f"{count:,}"] for name, said in _ERRORS.items() if (count := getattr(stats, name))]
    return _table(["GETs that failed", "count"], rows, "errors") if rows else "<p>No GET failed.</p>"


def slowest_table(stats: LoaderStats) -> str:
    """The objects that were waited for longest."""
    rows = [[f"{slow.wait_s:,.3f}", slow.uri] for slow in stats.slowest]
    return _table(["waited for (s)", "object"], rows, "slowest") if rows else "<p>No object was waited for.</p>"


def quarantine_table(entries: Sequence[Quarantined]) -> str:
    """Samples that failed, with the reasons."""
    if not entries:
        return "<p>No sample failed.</p>"
    rows = [
        [entry.key, entry.error, entry.message, str(entry.attempts), str(entry.epoch), entry.time]
        for entry in entries[:MOST_QUARANTINED]
    ]
    more = len(entries) - len(rows)
    below = f"<p>And {more:,} more in the file.</p>" if more else ""
    return _table(["object", "error", "reason", "GETs", "epoch", "time"], rows, "quarantine") + below


def ranks_table(records: Iterable[RunRecord]) -> str:
    """What each rank did, a row for each of its loaders."""
    rows = []
    for record in records:
        for name in record.loaders:
            total, active_s = record.total(name), sum(step.over_s for step in record.steps(name))
            rate = total.samples / active_s if active_s > 0 else 0.0
            rank = str(record.segments[-1].rank)
            wait = f"{100 * total.wait_share:.1f} %"
            rows.append([rank, name, f"{total.samples:,}", f"{rate:,.1f}", wait, judge(total).finding])
    return _table(["rank", "loader", "samples", "samples/s", "waiting", "verdict"], rows, "ranks")


def settings_table(settings: Mapping[str, Any], name: str) -> str:
    """Names and values, nested ones by dotted names."""
    return _table(["name", "value"], [[key, _text(value)] for key, value in _flat(settings)], name)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**20:
        return f"{value:,}"
    return str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="table {html.escape(name)}">{table}</div>'
