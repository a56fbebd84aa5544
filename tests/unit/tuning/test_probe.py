from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence

import pytest

from asyncio_loader.errors import LoaderError
from asyncio_loader.tuning.gauge import Reading
from asyncio_loader.tuning.probe import Progress, measure


class FakeFlow:
    """A sample every so many seconds, and a GET of a second for each."""

    def __init__(self, every_s: float, *, most: int = 1000, complete_at: int = 0) -> None:
        self.every_s = every_s
        self.most = most
        self.complete_at = complete_at
        self.now_s = 0.0
        self.samples = 0
        self.is_closed = False
        self.latencies_s: Sequence[float] = array("d", [1.0]) * most

    @property
    def is_complete(self) -> bool:
        return self.samples >= self.complete_at

    def counts(self) -> Generator[int, None, None]:
        try:
            while self.samples < self.most:
                self.now_s += self.every_s
                self.samples += 1
                yield 1
        finally:
            self.is_closed = True

    def read(self) -> Reading:
        return Reading(gets=self.samples, latencies=self.samples, consumer_s=self.now_s)


def run(flow: FakeFlow, *, concurrency: int = 4, seconds: float = 5.0) -> tuple[list[Progress], int, float]:
    told: list[Progress] = []
    measurement = measure(
        flow, concurrency=concurrency, processes=1, seconds=seconds, tell=told.append, clock=lambda: flow.now_s
    )
    assert measurement.gets == measurement.samples
    return told, measurement.samples, measurement.elapsed_s


def test_the_clock_ends_the_steady_state() -> None:
    flow = FakeFlow(0.5)

    _, samples, elapsed_s = run(flow)

    assert (samples, elapsed_s) == (10, 5.0)
    assert flow.is_closed


def test_it_counts_until_the_last_sample_came() -> None:
    _, samples, elapsed_s = run(FakeFlow(2.0))

    assert (samples, elapsed_s) == (3, 6.0)


def test_the_warm_up_lasts_two_samples_per_get_in_flight() -> None:
    flow = FakeFlow(0.5)

    run(flow, concurrency=8)

    assert flow.samples == 16 + 10


def test_the_warm_up_lasts_a_second() -> None:
    flow = FakeFlow(0.1)

    run(flow, concurrency=1, seconds=2.0)

    assert flow.samples == pytest.approx(10 + 20, abs=1)


def test_a_slow_store_is_measured_as_it_is() -> None:
    flow = FakeFlow(5.0)

    run(flow, concurrency=1000)

    # 15 s at the most.
    assert flow.samples == 3 + 1


@pytest.mark.parametrize("every_s", [0.5, 5.0])
def test_it_is_not_warm_before_everybody_has_delivered(every_s: float) -> None:
    flow = FakeFlow(every_s, complete_at=20)

    run(flow, concurrency=1)

    assert flow.samples == 20 + 5.0 / every_s


def test_it_tells_how_it_goes() -> None:
    told, _, _ = run(FakeFlow(0.5), concurrency=2, seconds=1.0)

    assert told == [
        Progress(False, 0.5, 1),
        Progress(False, 1.0, 2),
        Progress(False, 1.5, 3),
        Progress(False, 2.0, 4),
        Progress(True, 0.5, 1),
        Progress(True, 1.0, 2),
    ]


def test_samples_that_come_to_an_end_are_an_error() -> None:
    flow = FakeFlow(0.5, most=12)

    with pytest.raises(LoaderError, match="came to an end"):
        run(flow)

    assert flow.is_closed
