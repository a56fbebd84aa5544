from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics.sources import Sources
from asyncio_loader.record import StatsRecorder, read_record
from asyncio_loader.record.recorder import _open, _Writer
from asyncio_loader.stats import NUMBERS, Counters


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def size_of(fetched: Fetched) -> int:
    return len(fetched.data)


@pytest.fixture
def refs(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for path in paths:
        path.write_bytes(b"x" * 100)
    return [str(path) for path in paths]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def writer_of(loaders: dict[str, Loader], path: Path, clock: Clock) -> _Writer:
    sources = Sources()
    for name, loader in loaders.items():
        sources.add(name, loader)
    writer = _Writer(sources, _open(path), str(path), 1.0, clock)
    writer.begin({})
    return writer


def work(counters: Counters, samples: int) -> None:
    for _ in range(samples):
        counters.samples += 1
        counters.note_fetch(0.02)
        counters.note_wait(0.001)
    counters.elapsed_s += 0.5


def test_the_record_of_an_epoch_says_what_the_loader_says(refs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "logs" / "record.jsonl"
    with Loader(AsyncIterableDataset(refs, transform=size_of, seed=3), 4) as loader, StatsRecorder(loader, path):
        assert sum(sum(batch) for batch in loader) == 1200
    record = read_record(path)

    stats, total = loader.stats(), record.total("train")
    assert record.loaders == ["train"]
    assert record.broken == ()
    assert {name: getattr(total, name) for name in NUMBERS} == pytest.approx(
        {name: getattr(stats, name) for name in NUMBERS}, abs=1e-4
    )
    assert (total.fetch.counts, total.transform.counts) == (stats.fetch.counts, stats.transform.counts)
    # To the microsecond, in which two may have come.
    assert list(total.slowest) == sorted(((round(slow.wait_s, 6), slow.uri) for slow in stats.slowest), reverse=True)
    options = record.segments[0].options["train"]
    assert (options["made by"], options["batch_size"], options["seed"], options["refs"]) == ("Loader", 4, 3, 12)
    assert options["options"]["window_bytes"] == FetchOptions().window_bytes
    assert {"asyncio_loader", "python", "torch"} <= record.segments[0].versions.keys()


def test_a_line_each_second_for_ten_minutes_and_each_ten_seconds_later(refs: list[str], tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "record.jsonl"
    loader = Loader(AsyncIterableDataset(refs), 4)
    writer = writer_of({"train": loader}, path, clock)
    for _ in range(1200):
        clock.now_s += 1
        work(loader.dataset.counters, 2)
        writer.tick()
    writer.close()

    steps = read_record(path).steps("train")
    lengths = [step.over_s for step in steps]
    assert lengths[:600] == [1.0] * 600
    assert lengths[600:] == [10.0] * 60
    assert {step.stats.samples for step in steps[600:]} == {20}
    wholes = [line for line in lines_of(path) if line["kind"] == "whole"]
    assert [line["at_s"] for line in wholes] == [*range(60, 601, 60), *range(660, 1201, 60), 1200]
    assert path.stat().st_size < 250_000


def test_a_loader_that_stands_still_has_one_line_of_it_and_then_none(refs: list[str], tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "record.jsonl"
    loaders = {name: Loader(AsyncIterableDataset(refs), 4) for name in ("train", "val")}
    writer = writer_of(loaders, path, clock)
    for second in range(10):
        clock.now_s += 1
        if second in (1, 2, 7):
            work(loaders["train"].dataset.counters, 3)
        writer.tick()
    writer.close()

    record = read_record(path)
    ends = [(step.end - record.segments[0].begin).total_seconds() for step in record.steps("train")]
    assert record.loaders == ["train"]
    assert list(zip(ends, [step.stats.samples for step in record.steps("train")], strict=True)) == [
        *[(2, 3), (3, 3), (4, 0)],
        *[(8, 3), (9, 0)],
    ]
    assert {step.over_s for step in record.steps("train")} == {1.0}


def test_what_happened_before_the_record_is_no_part_of_it(refs: list[str], tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "record.jsonl"
    loader = Loader(AsyncIterableDataset(refs), 4)
    work(loader.dataset.counters, 50)
    writer = writer_of({"train": loader}, path, clock)
    work(loader.dataset.counters, 2)
    clock.now_s += 1
    writer.close()

    total = read_record(path).total("train")
    assert (total.samples, total.fetch.count) == (2, 2)


def test_it_keeps_no_loader_alive_and_ends_with_the_last(refs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    before = set(threading.enumerate())
    loader = Loader(AsyncIterableDataset(refs, transform=size_of), 4)
    StatsRecorder(loader, path, every_s=0.01)
    (ticker,) = set(threading.enumerate()) - before
    assert sum(len(batch) for batch in loader) == 12
    loader.close()
    gone = weakref.ref(loader)
    del loader
    gc.collect()

    assert gone() is None
    ticker.join(10)
    assert not ticker.is_alive()
    assert lines_of(path)[0]["kind"] == "run"
    steps = [line["stats"] for line in lines_of(path) if line["kind"] == "step"]
    # Without a number where none came.
    assert sum(step.get("samples", 0) for step in steps) <= 12


def test_workers_of_a_dataloader_are_counted_together(refs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    dataset = AsyncIterableDataset(refs, transform=size_of, batch_size=2)
    with StatsRecorder({"eval": (loader := DataLoader(dataset, batch_size=2, num_workers=2))}, path):
        assert sum(len(batch) for batch in loader) == 12

    record = read_record(path)
    assert record.total("eval").samples == 12
    assert record.segments[0].options["eval"]["num_workers"] == 2


def test_after_kill_9_all_but_half_a_line_is_there_and_the_next_goes_on(refs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    program = f"""
import os, signal
from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.record import StatsRecorder
loader = Loader(AsyncIterableDataset({refs!r}), 4)
StatsRecorder(loader, {str(path)!r}, every_s=0.01)
for batch in loader: pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert lines_of(path)[0]["kind"] == "run"
    with path.open("ab") as file:
        file.write(b'{"kind":"step","loader":"tr')
    with Loader(AsyncIterableDataset(refs), 4) as loader, StatsRecorder(loader, path):
        assert sum(len(batch) for batch in loader) == 12

    record = read_record(path)
    assert record.broken == ()
    assert len(record.segments) == 2
    assert record.segments[1].total("train").samples == 12


def test_a_forked_child_writes_nothing(refs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    loader = Loader(AsyncIterableDataset(refs), 4)
    with StatsRecorder(loader, path, every_s=1000) as recorder:
        work(loader.dataset.counters, 5)
        before = path.read_bytes()
        pid = os.fork()
        if not pid:
            recorder.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert path.read_bytes() == before
    assert read_record(path).total("train").samples == 5


def test_a_run_that_ends_without_close_has_its_last_line(refs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    program = f"""
from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.record import StatsRecorder
loader = Loader(AsyncIterableDataset({refs!r}), 4)
recorder = StatsRecorder(loader, {str(path)!r}, every_s=1000)
for batch in loader: pass
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)

    assert lines_of(path)[-1]["kind"] == "whole"
    assert read_record(path).total("train").samples == 12


def test_a_full_disk_ends_the_record_and_not_the_run(
    refs: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, loader = Clock(), Loader(AsyncIterableDataset(refs), 4)
    writer = writer_of({"train": loader}, tmp_path / "record.jsonl", clock)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._descriptor)
    os.close(full)
    for _ in range(2):
        work(loader.dataset.counters, 5)
        clock.now_s += 1
        writer.tick()
    writer.close()

    assert [entry.getMessage() for entry in caplog.records] == [
        f"{tmp_path}/record.jsonl: the record of the run ends here: No space left on device"
    ]


def test_figures_that_cannot_be_had_end_the_record_and_not_the_run(
    refs: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, loader = Clock(), Loader(AsyncIterableDataset(refs), 4)
    writer = writer_of({"train": loader}, tmp_path / "record.jsonl", clock)

    def stats(_: Loader) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Loader, "stats", stats)
    clock.now_s += 1
    writer.tick()

    assert [entry.getMessage() for entry in caplog.records] == [
        f"{tmp_path}/record.jsonl: the record of the run ends here: Input/output error"
    ]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("s3://bucket/record.jsonl", "must be a local path"),
        ("", "record must be a path, not ''"),
        ("{dir}", "cannot be written: Is a directory"),
        ("{dir}/0.jpg/record.jsonl", "cannot be written: File exists"),
    ],
)
def test_a_file_that_cannot_be_is_refused(file: str, said: str, refs: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        StatsRecorder(Loader(AsyncIterableDataset(refs), 4), file.format(dir=tmp_path))


@pytest.mark.parametrize("every_s", [0, -1, True, "1", 1e9])
def test_seconds_that_are_none_are_refused(every_s: Any, refs: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every_s must be seconds"):
        StatsRecorder(Loader(AsyncIterableDataset(refs), 4), tmp_path / "r", every_s=every_s)
