"""What a source of samples tells a trace, from the memory store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.recipe import Made, Recipe
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.source import SampleSource
from asyncio_loader.engine.agenda import Job
from asyncio_loader.errors import ConfigError, DecodeError
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Failed, Fetched, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.trace import Span, Trace, TraceFile, read_trace
from tests.trace_format import check_events, check_stages

COUNT = 12
THREADS = pytest.mark.parametrize("threads", [0, 1, 3])


def decode(fetched: Fetched) -> int:
    """The fifth is broken, and the eighth a mistake of whoever configured it."""
    if fetched.position == 5:
        raise DecodeError(f"{fetched.ref.uri}: broken", key=fetched.ref.uri)
    if fetched.position == 8:
        raise ConfigError("no such transform")
    return fetched.position


@pytest.fixture
def trace_file(tmp_path: Path) -> TraceFile:
    return TraceFile.create(tmp_path / "trace.json")


@pytest.fixture
def session(trace_file: TraceFile) -> Iterator[Session]:
    store = MemoryStore({f"memory://{n}": b"x" * n for n in range(COUNT)})
    session = Session(store, FetchOptions(window_items=4), trace=trace_file)
    yield session
    session.close()


def open_source(session: Session, threads: int) -> SampleSource:
    recipe = Recipe(refs=[], transform=decode, on_error="raise", on_void="replace", seed=0, order=[])
    jobs = [Job(ObjectRef(f"memory://{n}"), Slot(n, n)) for n in range(COUNT)]
    return SampleSource(session, jobs, recipe=recipe, counters=Counters(), threads=threads)


def take(source: SampleSource, count: int) -> list[Any]:
    taken: list[Any] = []
    for _ in range(count):
        try:
            made = source.take()
        except ConfigError as error:
            taken.append(type(error))
        else:
            taken.append(made.value if isinstance(made, Made) else type(made.error) if made else None)
    return taken


def read(trace_file: TraceFile) -> tuple[Trace, dict[int, Span]]:
    check_events(json.loads(Path(trace_file.path).read_bytes()))
    trace = read_trace(trace_file.path)
    return trace, {span.args["position"]: span for span in trace.spans("object")}


@THREADS
def test_whatever_becomes_of_a_sample_its_object_has_all_stages(
    session: Session, trace_file: TraceFile, threads: int
) -> None:
    source = open_source(session, threads)
    expected: list[Any] = list(range(COUNT))
    expected[5], expected[8] = DecodeError, ConfigError

    assert take(source, COUNT) == expected
    source.close()

    trace, objects = read(trace_file)
    assert sorted(objects) == list(range(COUNT))
    for position, span in objects.items():
        check_stages([part.name for part in span.parts])
        assert [part.name for part in span.parts][-3:] == ["ready", "transform", "made"]
        assert span.args.get("error") == ("DecodeError" if position == 5 else None)
        assert span.args["size_bytes"] == position
    # Bytes are doubted once.
    assert [span.args["uri"] for span in trace.spans("refetch")] == ["memory://5"]
    assert sorted(span.args["position"] for span in trace.spans("transform")) == list(range(COUNT))


@THREADS
def test_what_a_closed_source_had_under_way_is_in_the_trace_at_once(
    session: Session, trace_file: TraceFile, threads: int
) -> None:
    source = open_source(session, threads)
    assert take(source, 3) == [0, 1, 2]

    source.close()
    source.close()

    # The session is open still; nothing waits for the next flush.
    _, objects = read(trace_file)
    assert [position for position in sorted(objects) if "unfinished" not in objects[position].args] == [0, 1, 2]
    assert "unfinished" in objects[3].args


def test_a_session_without_a_trace_records_nothing() -> None:
    session = Session(MemoryStore({"memory://0": b""}), FetchOptions())
    source = SampleSource(
        session,
        [Job(ObjectRef("memory://0"), Slot(0, 0))],
        recipe=Recipe(refs=[], transform=None, on_error="raise", on_void="replace", seed=0, order=[]),
        counters=Counters(),
    )

    made = source.take()

    assert not isinstance(made, Failed)
    assert (session.writer, session.recorder) == (None, None)
    source.close()
    session.close()
