"""Measurements as text."""

from __future__ import annotations

from collections.abc import Sequence

from asyncio_loader.tuning.measurement import Measurement, Task

__all__ = ["describe_task", "format_table"]

_MIB = 1024 * 1024
_HEADS = (
    "in flight",
    "img/s",
    "MB/s",
    "CPU µs/GET",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "waits",
    "retries",
    "peak RSS MiB",
    "",
)


def describe_task(task: Task) -> str:
    """What is measured, in a line."""
    sizes = [size for _, size in task.objects if size is not None]
    mean = f", {sum(sizes) / len(sizes) / 1000:,.0f} KB on average" if sizes else ""
    how = "fetched"
    if task.decode:
        how = f"decoded in {_number(task.threads, 'thread')}" if task.threads else "decoded"
    if task.workers:
        how += f" in {_number(task.workers, 'DataLoader worker')}"
    return f"{_number(len(task.objects), 'object')}{mean}; {how}, {task.seconds:g} s per setting after a warm-up"


def format_table(measurements: Sequence[Measurement], task: Task, knee: int | None) -> str:
    """A table, a row for each measurement, with a mark at the knee and what the columns mean."""
    rows = [_HEADS, *(_cells(each, each.concurrency == knee) for each in measurements)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths[:-1]))
    return "\n".join([*lines, "", *_legend(measurements, task)])


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _cells(each: Measurement, is_knee: bool) -> tuple[str, ...]:
    latencies = (each.latency_p50_s, each.latency_p95_s, each.latency_p99_s)
    return (
        str(each.concurrency),
        f"{each.rate:,.0f}",
        f"{each.mb_per_s:,.1f}",
        f"{each.cpu_us_per_get:,.0f}",
        *(f"{latency_s * 1000:,.1f}" for latency_s in latencies),
        f"{each.wait_share:.0%}",
        f"{each.retries:,}",
        f"{each.peak_rss_bytes / _MIB:,.0f}",
        "<- knee" if is_knee else "",
    )


def _legend(measurements: Sequence[Measurement], task: Task) -> list[str]:
    if task.workers:
        waits = "of the workers' time, they waited for bytes"
    elif task.decode:
        waits = "of the decoding threads' time, they had no bytes to decode"
    else:
        waits = "of the time, the consumer waited (it does nothing else here: near 100% is right)"
    lines = [
        "p50 to p99: of a GET that succeeded, from request to last byte; a retry is a GET of its own",
        f"waits: {waits}",
        f"CPU: of {'all processes' if task.workers else 'the process'}{', decoding included' if task.decode else ''}",
    ]
    if task.workers:
        lines.append("in flight: of each worker. peak RSS: the sum over the processes, what they share counted in each")
    else:
        base_mib = max(each.base_rss_bytes for each in measurements) / _MIB
        lines.append(f"peak RSS: with {base_mib:,.0f} MiB of imports, torch above all")
    return lines
