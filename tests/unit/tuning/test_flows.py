from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import pytest

from asyncio_loader.errors import DecodeError, ObjectNotFound
from asyncio_loader.testing import synthetic_jpegs
from asyncio_loader.tuning.flows import BATCH, Flow, open_flow
from asyncio_loader.tuning.measurement import Task


@pytest.fixture
def photos(tmp_path: Path, task: Task) -> Task:
    """Three pictures on disk."""
    objects: list[tuple[str, int | None]] = []
    for number, body in enumerate(synthetic_jpegs(3, mean_bytes=9_000, size=(160, 120))):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(body)
        objects.append((str(path), len(body)))
    return dataclasses.replace(task, objects=objects).with_concurrency(4)


def take(flow: Flow, samples: int) -> int:
    """So many samples, at least; how many there were."""
    taken = 0
    with closing(flow.counts()) as counts:
        while taken < samples:
            taken += next(counts)
        reading = flow.read()
    assert reading.gets >= taken
    assert len(flow.latencies_s) >= reading.latencies >= taken
    return taken


def test_the_objects_come_again_and_again(photos: Task) -> None:
    assert take(open_flow(photos), 50) == 50


def test_threads_decode(photos: Task) -> None:
    flow = open_flow(dataclasses.replace(photos, decode=True, threads=2))

    assert take(flow, 50) == 4 * BATCH
    assert 0 <= flow.read().wait_s <= flow.read().consumer_s


def test_workers_tell_their_figures(photos: Task) -> None:
    flow = open_flow(dataclasses.replace(photos, decode=True, workers=1))
    before = flow.read()

    assert take(flow, 50) == 4 * BATCH
    after = flow.read()
    assert before.gets == 0
    assert after.cpu_s > before.cpu_s
    assert after.peak_rss_bytes > before.peak_rss_bytes


def test_a_reading_is_complete_once_every_worker_has_told(photos: Task) -> None:
    flow = open_flow(dataclasses.replace(photos, workers=2))
    complete = []
    with closing(flow.counts()) as counts:
        for _ in range(2):
            next(counts)
            complete.append(flow.is_complete)

    assert complete == [False, True]
    # Each worker's clock began with it, not with the machine.
    assert flow.read().consumer_s < 60


def test_a_launchers_environment_does_not_divide_what_is_measured(
    photos: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    flow = open_flow(photos.with_concurrency(512))

    # What a process has in effect is its session's.
    session = flow._dataset.open_session()  # type: ignore[attr-defined]
    session.close()

    assert session.options.max_in_flight == 512


def test_what_cannot_be_had_is_raised(photos: Task, tmp_path: Path) -> None:
    flow = open_flow(dataclasses.replace(photos, objects=[(str(tmp_path / "none.jpg"), 100)]))

    with pytest.raises(ObjectNotFound, match=r"none\.jpg"):
        take(flow, 1)


def test_what_is_no_image_is_raised(photos: Task, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    objects = [(str(tmp_path / "notes.txt"), 5)]
    flow = open_flow(dataclasses.replace(photos, objects=objects, decode=True, threads=1))

    with pytest.raises(DecodeError, match=r"notes\.txt"):
        take(flow, 1)
