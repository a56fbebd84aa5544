"""A server that throttles: what is let through, what is refused, and how long a change of the limit takes to follow.

One process fetches small objects, without decoding them, from a simulator that takes so many requests per second and
answers 503 SlowDown to the rest. 30 s after the start the limit doubles, 20 s later it is halved. Measured at the
server, four times a second; nothing is told to the client but what the server answers. The figures of a stretch leave
out the time that it may take to find the limit: 20 s at the start, 8 s after a change.

A PNG beside the results shows rate, concurrency and refusals over time.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncio_loader import AsyncIterableDataset, ObjectRef, S3Options
from asyncio_loader.testing import S3Simulator, Throttle
from asyncio_loader.testing.environment import environment
from bench.cases import Settings
from bench.report import Report

LIMITS = (500.0, 2000.0)
MEDIAN_S, P99_S = 0.030, 0.150
OBJECT_BYTES = 20_000
OBJECTS = 1000
ROUNDS = 10_000
EVERY_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Attributes:
    name: of it.
    factor: of the limit.
    seconds: how long it lasts.
    skip_s: what is left out at its beginning.
    """

    name: str
    factor: float
    seconds: float
    skip_s: float


STRETCHES = (
    Stretch(name="start", factor=1.0, seconds=30.0, skip_s=20.0),
    Stretch(name="doubled", factor=2.0, seconds=20.0, skip_s=8.0),
    Stretch(name="halved", factor=1.0, seconds=20.0, skip_s=8.0),
)


def run(settings: Settings) -> Report:
    """Measure all limits `repeats` times each; `scale` shortens all stretches."""
    raw: dict[str, Any] = {}
    rows = []
    for limit in LIMITS:
        runs = [_watch(limit, settings.scale) for _ in range(settings.repeats)]
        raw[f"{limit:g}"] = runs
        rows.extend(_row(limit, stretch, [run["stretches"][stretch.name] for run in runs]) for stretch in STRETCHES)
    return Report(
        case="pressure",
        title=f"objects of {OBJECT_BYTES / 1000:g} KB at {MEDIAN_S * 1000:g} ms median, {P99_S * 1000:g} ms 99th "
        f"percentile; {settings.repeats} runs, {_draw(raw, settings.results)}",
        columns=("limit, req/s", "stretch", "taken/s", "of the limit", "least", "refused", "most", "in flight"),
        rows=rows,
        raw=raw,
    )


def _watch(limit: float, scale: float) -> dict[str, Any]:
    objects = {f"images/{number:06d}": bytes(OBJECT_BYTES) for number in range(OBJECTS)}
    is_over = threading.Event()
    with (
        S3Simulator(objects, median_s=MEDIAN_S, p99_s=P99_S, throttle=Throttle(per_second=limit)) as simulator,
        environment(simulator.environ),
    ):
        dataset = AsyncIterableDataset(
            [ObjectRef(simulator.uri(key), OBJECT_BYTES) for key in objects] * ROUNDS,
            shuffle=True,
            storage=S3Options(endpoint_url=simulator.endpoint_url),
        )
        consumer = threading.Thread(target=_consume, args=(dataset, is_over))
        consumer.start()
        try:
            line = _follow(simulator, dataset, limit, scale)
        finally:
            is_over.set()
            consumer.join()
    return {"line": line, "stretches": {stretch.name: _figures(stretch, limit, line, scale) for stretch in STRETCHES}}


def _consume(dataset: AsyncIterableDataset, is_over: threading.Event) -> None:
    for _ in dataset:
        if is_over.is_set():
            return


def _follow(simulator: S3Simulator, dataset: AsyncIterableDataset, limit: float, scale: float) -> list[dict[str, Any]]:
    line: list[dict[str, Any]] = []
    before = first = simulator.figures()
    for stretch in STRETCHES:
        simulator.set_throttle(Throttle(per_second=limit * stretch.factor))
        ends_s = time.monotonic() + stretch.seconds * scale
        while time.monotonic() < ends_s:
            # The tick of the measurement.
            time.sleep(EVERY_S)
            now, stats = simulator.figures(), dataset.stats()
            refused = now.throttled - before.throttled
            line.append(
                {
                    "stretch": stretch.name,
                    "at_s": now.now_s - first.now_s,
                    "limit": limit * stretch.factor,
                    "seconds": now.now_s - before.now_s,
                    "taken": now.requests - before.requests - refused,
                    "refused": refused,
                    "in_flight": now.in_flight,
                    "level": stats.level,
                    "pace": stats.pace,
                }
            )
            before = now
    return line


def _figures(stretch: Stretch, limit: float, line: list[dict[str, Any]], scale: float) -> dict[str, float]:
    points = [point for point in line if point["stretch"] == stretch.name]
    counted = [point for point in points if point["at_s"] - points[0]["at_s"] >= stretch.skip_s * scale]
    taken, refused = (sum(point[name] for point in counted) for name in ("taken", "refused"))
    rate = taken / sum(point["seconds"] for point in counted)
    return {
        "rate": rate,
        "share": rate / (limit * stretch.factor),
        "refused": refused / (taken + refused),
        "in_flight": statistics.fmean(point["in_flight"] for point in counted),
    }


def _row(limit: float, stretch: Stretch, runs: list[dict[str, float]]) -> tuple[str, ...]:
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return (
        f"{limit * stretch.factor:g}",
        stretch.name,
        f"{middle['rate']:.0f}",
        f"{middle['share']:.3f}",
        f"{min(run['share'] for run in runs):.3f}",
        f"{middle['refused']:.2%}",
        f"{max(run['refused'] for run in runs):.2%}",
        f"{middle['in_flight']:.0f}",
    )


def _draw(raw: dict[str, Any], results: Path) -> str:
    try:
        import matplotlib as mpl
    except ImportError:
        return "no plot: matplotlib is not installed"
    mpl.use("agg")
    from matplotlib import pyplot as plt

    canvas, columns = plt.subplots(3, len(raw), figsize=(7 * len(raw), 8), sharex=True, squeeze=False)
    for column, (limit, runs) in enumerate(raw.items()):
        line = runs[0]["line"]
        at_s = [point["at_s"] for point in line]
        rate, level, refused = (columns[row][column] for row in range(3))
        rate.set_title(f"{limit} requests per second, doubled, halved")
        rate.plot(at_s, [point["taken"] / point["seconds"] for point in line], label="taken by the server")
        rate.step(at_s, [point["limit"] for point in line], "k--", where="post", label="its limit")
        rate.plot(at_s, [point["pace"] or float("nan") for point in line], lw=1, label="pace of the client")
        rate.set_ylim(0, 1.3 * max(point["limit"] for point in line))
        rate.set_ylabel("GET/s")
        rate.legend(loc="upper left")
        level.plot(at_s, [point["level"] for point in line], label="level")
        level.plot(at_s, [point["in_flight"] for point in line], lw=1, label="in flight at the server")
        level.set_ylabel("GETs at once")
        level.legend(loc="upper left")
        shares = [100 * point["refused"] / max(1, point["refused"] + point["taken"]) for point in line]
        refused.plot(at_s, shares, color="tab:red")
        refused.set_ylabel("refused (503), %")
        refused.set_xlabel("s")
    canvas.tight_layout()
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"pressure-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.png"
    canvas.savefig(path, dpi=110)
    plt.close(canvas)
    return f"plot in {os.path.relpath(path)}"
