"""Traces of whole epochs: every object with all its stages, by threads, by workers, by a process that is killed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, RetryPolicy, S3Options
from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Fetched
from asyncio_loader.testing import Fault, S3Simulator
from asyncio_loader.trace import Span, Trace, TraceFile, read_trace
from tests.trace_format import check_events, check_stages

COUNT = 160
# One in ten is refused once, two fail twice; some hang, so that a second GET comes first.
FAULTS = [
    Fault("status", key="img/*0.jpg", times=1),
    Fault("status", key="img/*13.jpg", times=2, status=500),
    Fault("slow", key="img/*[5]9.jpg", times=1, delay_s=2.0),
    Fault("status", key="img/7.jpg", status=404),
]


def size_of(fetched: Fetched) -> int:
    return len(fetched.data)


@pytest.fixture(scope="module")
def simulator() -> Iterator[S3Simulator]:
    objects = {f"img/{n}.jpg": bytes(1000 + n) for n in range(COUNT)}
    with S3Simulator(objects, median_s=0.004, faults=FAULTS) as running:
        yield running


@pytest.fixture
def make_dataset(simulator: S3Simulator) -> Callable[..., AsyncIterableDataset]:
    simulator.set_faults(FAULTS)
    storage = S3Options(endpoint_url=simulator.endpoint_url, anonymous=True)
    retry = RetryPolicy(backoff_initial_s=0.001)
    refs = [f"s3://{simulator.bucket}/img/{n}.jpg" for n in range(COUNT)]

    def make(**options: Any) -> AsyncIterableDataset:
        return AsyncIterableDataset(
            refs,
            transform=size_of,
            shuffle=True,
            storage=storage,
            options=FetchOptions(retry=retry, hedge=0.2, max_in_flight=8),
            **{"on_error": "replace", "max_failures": 5, **options},
        )

    return make


def read(path: str | Path) -> Trace:
    """By `json` first: the file must be whole, and of the format."""
    check_events(json.loads(Path(path).read_bytes()))
    trace = read_trace(path)
    assert trace.is_whole
    return trace


def check_objects(objects: list[Span]) -> None:
    for span in objects:
        check_stages([part.name for part in span.parts])
        attempts = [part for part in span.parts if part.name == "GET"]
        assert len(attempts) == span.args["attempts"]
        assert [attempt.args["attempt"] for attempt in attempts] == list(range(1, len(attempts) + 1))
        failed = [attempt for attempt in attempts if "error" in attempt.args]
        # All but the last failed, and that one, too, where nothing came.
        assert failed == (attempts if "error" in span.args else attempts[:-1])
        if "error" not in span.args:
            assert [part.name for part in attempts[-1].parts] == ["first byte", "body"]
        for one, next_one in zip(span.parts, span.parts[1:], strict=False):
            assert one.end_s <= next_one.start_s + 1e-6


@pytest.mark.parametrize("threads", [1, 2])
def test_every_object_of_an_epoch_with_retries_and_second_gets(
    threads: int, make_dataset: Callable[..., AsyncIterableDataset], tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    with Loader(make_dataset(), 8, threads=threads, trace=path) as loader:
        assert sum(len(batch) for batch in loader) == COUNT
        stats = loader.stats()

    trace = read(path)
    objects = trace.spans("object")
    check_objects(objects)
    assert len({span.args["uri"] for span in objects}) == len(objects) == COUNT
    assert sorted(span.args["position"] for span in objects) == list(range(COUNT))
    for span in objects:
        names = [part.name for part in span.parts if part.name not in ("turn", "backoff", "GET")]
        assert names == ["queued", "held back", "ready", "transform", "made"]
    by_uri = {span.args["uri"].rpartition("/")[2]: span for span in objects}
    assert (by_uri["7.jpg"].args["error"], by_uri["7.jpg"].args["attempts"]) == ("ObjectNotFound", 1)
    # On a busy machine a second GET may meet a fault in the first one's place.
    assert sum(by_uri[f"{n}0.jpg"].args["attempts"] == 2 for n in range(1, 16)) >= 10
    assert by_uri["113.jpg"].args["attempts"] >= 2
    assert by_uri["33.jpg"].args["size_bytes"] == 1033
    # Substitutes come outside of the order.
    assert len(trace.spans("fetch")) == 1
    seconds = trace.spans("second GET")
    # One that is dropped before its task runs never began.
    assert 0 < len(seconds) <= stats.hedges
    assert sum(span.args["won"] for span in seconds) == stats.hedges_won > 0
    answered = [p for span in objects for p in span.parts if p.args.get("answered") == "second GET"]
    assert len(answered) == stats.hedges_won
    errors = Counter(event.args["error"] for event in trace.events if event.name == "GET failed")
    assert errors["Throttled"] == stats.throttled >= 10
    assert errors.total() == stats.retries + 1


def test_what_threads_and_the_consumer_did_has_tracks_of_their_own(
    make_dataset: Callable[..., AsyncIterableDataset], tmp_path: Path
) -> None:
    trace_file = TraceFile.create(tmp_path / "trace.json").labelled("train")
    with Loader(make_dataset(), 8, threads=2, trace=trace_file) as loader:
        batches = len(list(loader))

    trace = read(trace_file.path)
    names = {str(event.tid): event.args["name"] for event in trace.events if event.name == "thread_name"}
    tracks = {(span.name, names[span.track]) for span in trace.spans() if span.name not in ("object", "second GET")}
    assert ("batch", "train: MainThread") in tracks
    assert ("waits for a sample", "train: MainThread") in tracks
    assert {track for name, track in tracks if name == "transform"} <= {
        "train: asyncio-loader-transform-0",
        "train: asyncio-loader-transform-1",
        "train: MainThread",
    }
    assert len(trace.spans("batch")) == batches
    # The transform of a thread is the stage of its object.
    stages = {span.args["position"]: p for span in trace.spans("object") for p in span.parts if p.name == "transform"}
    for span in trace.spans("transform"):
        stage = stages[span.args["position"]]
        assert stage.start_s - 1e-6 <= span.start_s
        assert stage.end_s <= span.end_s + 1e-6
    counters = {event.name for event in trace.events if event.phase == "C"}
    assert counters >= {"train: objects in flight", "train: window", "train: level"}


def test_the_consumer_transforms_by_itself_without_threads(
    make_dataset: Callable[..., AsyncIterableDataset], tmp_path: Path
) -> None:
    dataset = make_dataset(trace=tmp_path / "trace.json")
    for epoch in range(2):
        dataset.set_epoch(epoch)
        assert sum(1 for _ in dataset) == COUNT

    # An iteration has an engine of its own each time, and all write to the same file.
    objects = read(tmp_path / "trace.json").spans("object")
    check_objects(objects)
    assert Counter(span.args["epoch"] for span in objects) == {0: COUNT, 1: COUNT}


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
@pytest.mark.parametrize("is_persistent", [False, True])
def test_the_workers_of_a_dataloader_write_to_one_file(
    start_method: str, is_persistent: bool, make_dataset: Callable[..., AsyncIterableDataset], tmp_path: Path
) -> None:
    dataset = make_dataset(trace=tmp_path / "trace.json", batch_size=8)
    loader = DataLoader(
        dataset, batch_size=8, num_workers=2, multiprocessing_context=start_method, persistent_workers=is_persistent
    )
    for epoch in range(2):
        dataset.set_epoch(epoch)
        assert sum(len(batch) for batch in loader) == COUNT
    # The workers end, and what they had not written down yet is.
    del loader

    trace = read(tmp_path / "trace.json")
    objects = [span for span in trace.spans("object") if "unfinished" not in span.args]
    check_objects(objects)
    counts = Counter(span.args["epoch"] for span in objects)
    assert (counts[0], counts[1]) == (COUNT, COUNT)
    names = Counter(event.args["name"] for event in trace.events if event.name == "process_name")
    processes = 1 if is_persistent else 2
    assert names == {"asyncio_loader worker 0": processes, "asyncio_loader worker 1": processes}
    assert len({span.pid for span in objects}) == 2 * processes


_ENDLESS = """
import sys
from asyncio_loader import AsyncIterableDataset, Loader, S3Options
endpoint, path, *refs = sys.argv[1:]
dataset = AsyncIterableDataset(refs, storage=S3Options(endpoint_url=endpoint, anonymous=True))
loader = Loader(dataset, 4, threads=1, trace=path)
while True:
    for batch in loader:
        pass
"""


def test_a_killed_process_leaves_a_file_that_opens(simulator: S3Simulator, tmp_path: Path) -> None:
    simulator.set_faults([])
    path = tmp_path / "trace.json"
    refs = [f"s3://{simulator.bucket}/img/{n}.jpg" for n in range(100)]
    with subprocess.Popen([sys.executable, "-c", _ENDLESS, simulator.endpoint_url, str(path), *refs]) as process:
        try:
            # It is in the midst of it then.
            while not (path.exists() and b'"name":"made"' in path.read_bytes()):
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()

    delivered = [span for span in read_trace(path).spans("object") if "unfinished" not in span.args]
    assert delivered
    check_objects(delivered)


def test_a_full_trace_is_said_once_and_loading_goes_on(
    make_dataset: Callable[..., AsyncIterableDataset],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trace = TraceFile.create(tmp_path / "trace.json", max_bytes=1 << 20)
    trace.append(["{" + " " * (1 << 19) + '"ph":"M","name":"process_name","pid":1,"tid":1,"args":{"name":"x"}}'] * 1)
    with caplog.at_level(logging.WARNING), Loader(make_dataset(), 8, threads=1, trace=trace) as loader:
        for epoch in range(3):
            loader.set_epoch(epoch)
            assert sum(len(batch) for batch in loader) == COUNT

    said = [record.getMessage() for record in caplog.records if "trace" in record.getMessage()]
    assert said == [f"{trace.path}: the trace ends here, at max_bytes=1,048,576; loading goes on"]
    assert 1 << 19 < os.path.getsize(trace.path) <= 1 << 20
    read(trace.path)


def test_a_file_that_goes_away_is_said_once_and_loading_goes_on(
    make_dataset: Callable[..., AsyncIterableDataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "trace.json"
    loader = Loader(make_dataset(), 8, threads=1, trace=path)
    path.unlink()
    with caplog.at_level(logging.WARNING), loader:
        assert sum(len(batch) for batch in loader) == COUNT

    said = [record.getMessage() for record in caplog.records if "trace" in record.getMessage()]
    assert said == [f"{path}: No such file or directory: the trace ends here; loading goes on"]


def test_a_trace_that_cannot_be_is_said_at_once(
    make_dataset: Callable[..., AsyncIterableDataset], tmp_path: Path
) -> None:
    path = tmp_path / "missing" / "trace.json"

    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        make_dataset(trace=path)
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        Loader(make_dataset(), 8, trace=path)
