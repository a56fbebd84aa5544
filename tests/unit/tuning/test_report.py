from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from asyncio_loader.tuning.measurement import Task
from asyncio_loader.tuning.report import write_json
from tests.unit.tuning.conftest import Measured


def test_everything_but_the_names_is_written(tmp_path: Path, task: Task, measured: Measured) -> None:
    path = tmp_path / "tune.json"
    made_at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    write_json([measured(16, 400), measured(64, 1000)], task, "s3://bucket/", path, made_at=made_at)

    text = path.read_text()
    document = json.loads(text)
    assert (document["place"], document["date"]) == ("s3://bucket/", "2026-11-23T12:00:00+00:00")
    assert document["objects"] == {"count": 2, "mean_bytes": 115_000}
    assert [each["rate"] for each in document["measurements"]] == [400, 1000]
    assert document["knee"] == {"concurrency": 64, "share": 1.0, "best": 64, "still_grows": True}
    assert document["options"] == "FetchOptions(max_in_flight=64)"
    assert "a.jpg" not in text


def test_nothing_measured_is_no_knee(tmp_path: Path, task: Task) -> None:
    path = tmp_path / "tune.json"
    write_json([], task, "s3://bucket/", path, made_at=datetime.now(UTC))

    document = json.loads(path.read_text())
    assert (document["knee"], document["options"]) == (None, None)
