"""What was found out, as JSON: for the next run, and for whoever doubts a row."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from asyncio_loader import __version__
from asyncio_loader.cores import count_cores
from asyncio_loader.tuning.advice import knee_of, options_line
from asyncio_loader.tuning.measurement import Measurement, Task

__all__ = ["write_json"]


def write_json(measurements: Sequence[Measurement], task: Task, place: str, path: Path, *, made_at: datetime) -> None:
    """Write everything that was asked and measured, but for the names of the objects.

    Args:
        measurements: in the order of concurrency.
        task: what was measured; its options are those of any setting.
        place: where the objects were.
        path: of the file; replaced.
        made_at: time of the run.
    """
    knee = knee_of(measurements)
    sizes = [size for _, size in task.objects if size is not None]
    document: dict[str, Any] = {
        "place": place,
        "date": made_at.isoformat(timespec="seconds"),
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": count_cores(),
        "load": os.getloadavg()[0],
        "objects": {"count": len(task.objects), "mean_bytes": sum(sizes) / len(sizes) if sizes else None},
        "storage": dataclasses.asdict(task.storage),
        "seconds": task.seconds,
        "decode": task.decode,
        "threads": task.threads,
        "workers": task.workers,
        "seed": task.seed,
        "measurements": [each.as_dict() for each in measurements],
        "knee": None if knee is None else dataclasses.asdict(knee),
        "options": None if knee is None else options_line(task.with_concurrency(knee.concurrency).options),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
