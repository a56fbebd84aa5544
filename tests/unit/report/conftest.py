from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.quarantine import Quarantined
from asyncio_loader.record.lines import durations_json, line_of, numbers_json
from asyncio_loader.stats import Counters, LoaderStats

EVIL = "s3://bucket/<script>alert(1)</script>&\"'</td>.jpg"


def head(**more: Any) -> dict[str, Any]:
    begin = {"kind": "run", "format": 1, "time": "2026-11-26T04:00:00.000+00:00", "rank": 0}
    return {
        **begin,
        "versions": {"python": "3.11"},
        "options": {"train": {"options": {"window_bytes": 1 << 26}}},
        **more,
    }


def second(number: int, **stats: Any) -> dict[str, Any]:
    whole = {"samples": 40, "gets": 44, "throttled": 2, "bytes_fetched": 4_000_000, "elapsed_s": 1.0, "wait_s": 0.25}
    levels = {"level": 32, "in_flight": 20 + number, "pace": 50.0, "window_bytes": 1 << 26, "held_bytes": 1 << 25}
    figures = {**whole, **levels, "threads": 2, "transform_s": 0.5, "starved_s": 0.9, **stats}
    return {"kind": "step", "loader": "train", "at_s": float(number), "over_s": 1.0, "stats": figures}


def whole(samples: int) -> dict[str, Any]:
    counters = Counters()
    for _ in range(samples):
        counters.note_fetch(0.02)
        counters.note_transform(0.004)
        counters.note_wait(0.001)
    counters.note_starved(0.75, EVIL)
    stats: LoaderStats = counters.snapshot()
    summary = {"kind": "whole", "loader": "train", "at_s": 10.0, "stats": numbers_json(stats)}
    return {**summary, "durations": durations_json(stats), "slowest": stats.slowest}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes the log directory of a run of ten seconds."""

    def make(directory: str = "work/20261126_040000", *, name: str = "record.jsonl", rank: int = 0) -> Path:
        log_dir = tmp_path / directory
        (log_dir / "vis_data").mkdir(parents=True, exist_ok=True)
        lines = [head(rank=rank), *map(second, range(1, 11)), whole(400)]
        (log_dir / name).write_bytes(b"".join(map(line_of, lines)))
        failed = Quarantined(
            key=EVIL, index=3, epoch=0, position=1, error="DecodeError", message="no <img>", attempts=2, time="2026"
        )
        (log_dir / "quarantine.jsonl").write_text(json.dumps(asdict(failed)) + "\n")
        scalars = [{"lr": 0.1, "loss": 2.0 / n, "<b>loss": 1.0, "step": n} for n in range(1, 6)]
        (log_dir / "vis_data" / "scalars.json").write_text("".join(json.dumps(line) + "\n" for line in scalars))
        return log_dir

    return make
