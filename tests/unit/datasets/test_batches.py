"""Batches on their way: with a stream whose samples come, and copies that end, when the test says so."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from asyncio_loader.datasets.batches import Batches
from asyncio_loader.datasets.pinned import PinnedMemory, new_pinned_stack
from asyncio_loader.datasets.transfer import HostTransfer, Transfer


class Stream:
    """Samples of a script; an exception in it is raised in its place.

    Attributes:
        ready: how many of those that follow are there at once; the others come when they are asked for.
        consumed: samples that were taken.
        asked: what was wanted, sample by sample.
    """

    def __init__(self, *samples: Any, ready: int = 0) -> None:
        self._samples = deque(samples)
        self.ready = ready
        self.consumed = 0
        self.wanted = 0
        self.asked: list[int] = []

    @property
    def is_ready(self) -> bool:
        return self.ready > 0

    def __next__(self) -> Any:
        self.ready = max(0, self.ready - 1)
        if not self._samples:
            raise StopIteration
        sample = self._samples.popleft()
        if isinstance(sample, BaseException):
            raise sample
        self.consumed += 1
        self.asked.append(self.wanted)
        return sample


class Copies:
    """A transfer that writes down what it is asked to do.

    Attributes:
        log: what was begun, and what finished.
        broken: batches that cannot be begun, or finished.
    """

    pinned: PinnedMemory | None = None

    def __init__(self, **broken: list[Any]) -> None:
        self.log: list[tuple[str, Any]] = []
        self._broken = broken

    def begin(self, batch: Any) -> Any:
        self._note("begin", batch)
        return ("ticket", batch)

    def finish(self, ticket: Any) -> Any:
        self._note("finish", ticket[1])
        return ("on device", ticket[1])

    def _note(self, what: str, batch: Any) -> None:
        if batch in self._broken.get(what, []):
            raise MemoryError(f"cannot {what} {batch}")
        self.log.append((what, batch))


def batches(stream: Any, transfer: Transfer[Any] | None = None, **options: Any) -> Batches:
    settings: dict[str, Any] = {"batch_size": 2, "drop_last": False, "ahead": 1, "note": [].append, **options}
    return Batches(stream, settings.pop("collate", list), transfer or HostTransfer(), **settings)


def drain(batches: Batches) -> list[Any]:
    handed_out = []
    while batches.prepare():
        handed_out.append(batches.hand_out())
    return handed_out


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("ready", [0, 1, 3, 100])
@pytest.mark.parametrize(("drop_last", "last"), [(False, [[6]]), (True, [])])
def test_batches_are_the_same_however_far_ahead(ahead: int, ready: int, drop_last: bool, last: list[Any]) -> None:
    made = batches(Stream(*range(7), ready=ready), ahead=ahead, drop_last=drop_last)

    assert drain(made) == [[0, 1], [2, 3], [4, 5], *last]
    assert not made.prepare()


def test_the_next_copy_begins_before_a_batch_is_handed_out() -> None:
    copies = Copies()
    made = batches(Stream(*range(6), ready=100), copies)

    assert drain(made) == [("on device", [0, 1]), ("on device", [2, 3]), ("on device", [4, 5])]
    assert copies.log == [
        ("begin", [0, 1]),
        ("begin", [2, 3]),
        ("finish", [0, 1]),
        ("begin", [4, 5]),
        ("finish", [2, 3]),
        ("finish", [4, 5]),
    ]


def test_a_batch_that_is_there_is_not_held_back_for_the_next() -> None:
    copies = Copies()
    stream = Stream(*range(6), ready=3)
    made = batches(stream, copies)

    made.prepare()
    # One sample of the second batch is there, and is not waited for with its other one.
    assert (copies.log, stream.consumed) == ([("begin", [0, 1])], 3)
    assert made.hand_out() == ("on device", [0, 1])
    # With nothing on its way there is nothing else to do than to wait.
    made.prepare()
    assert copies.log[2:] == [("begin", [2, 3])]

    stream.ready = 2
    made.prepare()
    assert copies.log[3:] == [("begin", [4, 5])]


@pytest.mark.parametrize(("ahead", "begun"), [(0, 1), (1, 2), (3, 4)])
def test_no_more_are_begun_than_allowed(ahead: int, begun: int) -> None:
    copies = Copies()
    made = batches(Stream(*range(20), ready=100), copies, ahead=ahead)

    for _ in range(3):
        made.prepare()
    assert len(copies.log) == begun


def test_only_what_was_handed_out_is_consumed() -> None:
    stream = Stream(*range(5), ready=100)
    made = batches(stream, ahead=2)

    made.prepare()
    assert (made.consumed, stream.consumed) == (0, 5)
    consumed = []
    while made.prepare():
        made.hand_out()
        consumed.append(made.consumed)
    assert consumed == [2, 4, 5]


def test_the_stream_is_told_how_many_samples_are_wanted() -> None:
    stream = Stream(*range(6))
    drain(batches(stream, batch_size=3))

    assert stream.asked == [3, 2, 1, 3, 2, 1]


def _cannot(batch: list[int]) -> list[int]:
    if 2 in batch:
        raise ValueError("no batch")
    return batch


@pytest.mark.parametrize(
    ("stream", "options", "error"),
    [
        (Stream(0, 1, 2, OSError("lost"), 4, ready=100), {}, "lost"),
        (Stream(*range(6), ready=100), {"collate": _cannot}, "no batch"),
        (Stream(*range(6), ready=100), {"transfer": Copies(begin=[[2, 3]])}, "cannot begin"),
        (Stream(*range(6), ready=100), {"transfer": Copies(finish=[[2, 3]])}, "cannot finish"),
    ],
)
def test_an_error_comes_in_its_place_and_counts_for_nothing(
    stream: Stream, options: dict[str, Any], error: str
) -> None:
    made = batches(stream, **options)
    assert made.prepare()
    assert made.hand_out() in ([0, 1], ("on device", [0, 1]))
    assert made.consumed == 2

    assert made.prepare()
    with pytest.raises((OSError, ValueError, MemoryError), match=error):
        made.hand_out()
    assert made.consumed == 2


def test_after_an_error_of_the_stream_it_is_over() -> None:
    made = batches(Stream(0, OSError("lost"), 2, 3), ahead=0)
    made.prepare()
    with pytest.raises(OSError, match="lost"):
        made.hand_out()

    assert not made.prepare()


def test_an_interrupt_comes_at_once() -> None:
    made = batches(Stream(0, 1, 2, KeyboardInterrupt(), ready=100))

    with pytest.raises(KeyboardInterrupt):
        made.prepare()


class Thing:
    pass


def test_what_was_handed_out_or_dropped_is_kept_by_nobody() -> None:
    made: list[weakref.ref[Any]] = []

    def collate(samples: list[Any]) -> Thing:
        thing = Thing()
        made.append(weakref.ref(thing))
        return thing

    samples = [Thing() for _ in range(6)]
    gone = [weakref.ref(sample) for sample in samples]
    way = batches(Stream(*samples, ready=5), collate=collate, ahead=1)
    del samples
    way.prepare()
    way.hand_out()
    assert [thing() is None for thing in made] == [True, False]
    assert [sample() is None for sample in gone[:4]] == [True] * 4

    way.close()
    way.close()
    assert made[1]() is None
    assert not way.prepare()


def test_an_error_leaves_no_cycle() -> None:
    class OwnError(Exception):
        pass

    def fail(samples: list[Any]) -> Any:
        raise OwnError

    way = batches(Stream(0, 1), collate=fail)
    gc.disable()
    try:
        way.prepare()
        try:
            way.hand_out()
        except OwnError as error:
            gone = weakref.ref(error)
        assert gone() is None
    finally:
        gc.enable()


def test_collate_finds_the_page_locked_memory_of_the_transfer() -> None:
    asked: list[tuple[int, ...]] = []

    def allocate(shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        asked.append(tuple(shape))
        return torch.empty(tuple(shape), dtype=dtype)

    copies = Copies()
    copies.pinned = PinnedMemory(100, allocate)
    stacked = batches(Stream(5), copies, collate=lambda samples: new_pinned_stack(samples, torch.uint8))
    stacked.prepare()

    assert asked == [(5,)]


def test_the_time_is_noted_once_per_batch() -> None:
    seconds: list[float] = []
    drain(batches(Stream(*range(5), ready=100), note=seconds.append))

    assert len(seconds) == 3
    assert min(seconds) >= 0
