from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets import stacks
from asyncio_loader.datasets.collate import collate, collate_detection, stack_size_of
from asyncio_loader.datasets.stacks import Seat, StackPlan, new_stack, write_stack
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.late import LateImage


def late(height: int, width: int, value: float = 1, *, channels: int = 3, dtype: Any = np.float32) -> LateImage:
    def write(held: np.ndarray, place: np.ndarray) -> None:
        place[...] = held

    return LateImage((channels, height, width), dtype, np.full(1, value, dtype), write)


def sample(height: int = 2, width: int = 3, value: float = 1, **options: Any) -> dict[str, Any]:
    return {"img": DataContainer(late(height, width, value, **options), stack=True, padding_value=7)}


def bring(plan: StackPlan, *samples: Any) -> list[int]:
    """Into the next seats of the first epoch."""
    seats = [plan.next(0) for _ in samples]
    return [seat.bring(one) for seat, one in zip(seats, samples, strict=True) if seat is not None]


def seat_of(plan: StackPlan, epoch: int = 0) -> Seat:
    seat = plan.next(epoch)
    assert seat is not None
    return seat


def nowhere(shape: Sequence[int], dtype: torch.dtype) -> None:
    return None


def stack_of(samples: Sequence[dict[str, Any]]) -> torch.Tensor:
    (stacked,) = collate(samples, samples_per_gpu=len(samples))["img"].data
    assert isinstance(stacked, torch.Tensor)
    return stacked


def test_images_are_written_to_their_place_and_padded_to_the_largest() -> None:
    images = [late(2, 5, 1), late(4, 3, 2), late(4, 5, 3)]
    stack = write_stack(images, 7, nowhere)
    assert stack is not None

    assert (3, 3, 4, 5) == tuple(stack.shape)
    assert [
        torch.equal(stack[n, :, :h, :w], torch.full((3, h, w), n + 1.0))
        for n, (h, w) in enumerate([(2, 5), (4, 3), (4, 5)])
    ] == [True] * 3
    assert [(stack[n] == 7).sum().item() for n in range(3)] == [30, 24, 0]


@pytest.mark.parametrize("padding_value", [-1, 300, (0, 0, 0)])
def test_a_padding_that_is_not_needed_is_not_looked_at(padding_value: Any) -> None:
    stack = write_stack([late(2, 3, dtype=np.uint8)] * 2, padding_value, nowhere)

    assert stack is not None
    assert (stack == 1).all()


@pytest.mark.parametrize("odd", [{"channels": 4}, {"dtype": np.uint8}])
def test_images_that_are_no_stack_are_left_alone(odd: dict[str, Any]) -> None:
    made: list[Any] = []

    assert write_stack([late(2, 3), late(2, 3, **odd)], 0, lambda *what: made.append(what)) is None
    assert made == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_last_one_that_is_brought_makes_the_stack(order: tuple[int, ...]) -> None:
    made = []

    def new(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        made.append(torch.empty(tuple(shape), dtype=dtype))
        return made[-1]

    plan = StackPlan(3, 3, new)
    seats = [seat_of(plan) for _ in range(3)]
    samples = [sample(value=number) for number in range(3)]
    brought = [seats[number].bring(samples[number]) for number in order[:2]]
    assert (made, brought) == ([], [0, 0])
    assert seats[order[2]].bring(samples[order[2]]) == 4 * 3 * 3 * 2 * 3

    assert stack_of(samples) is made[0]
    assert [0.0, 1.0, 2.0] == made[0][:, 0, 0, 0].tolist()


def test_it_is_padded_as_the_first_container_says() -> None:
    samples = [sample(2, 3), sample(4, 3)]
    plan = StackPlan(2, 2, nowhere)
    bring(plan, *samples)

    assert [7.0, 7.0] == stack_of(samples)[0, 0, 2:, 0].tolist()


@pytest.mark.parametrize(
    ("batch_size", "stack_size", "sizes"),
    [(2, 2, [2, 2, 2]), (3, 2, [2, 1, 2, 1]), (4, 2, [2, 2, 2]), (5, 4, [4, 1, 4])],
)
def test_places_are_those_of_the_batches(batch_size: int, stack_size: int, sizes: list[int]) -> None:
    plan = StackPlan(batch_size, stack_size, nowhere)
    seats = [seat_of(plan) for _ in range(sum(sizes))]
    found = list({id(seat.gathering): seat.gathering.size for seat in seats}.values())

    assert found == sizes
    assert [seat.place for seat in seats] == [place for size in sizes for place in range(size)]


def test_an_epoch_begins_with_a_batch() -> None:
    plan = StackPlan(4, 4, nowhere)
    places = [seat_of(plan, epoch).place for epoch in (0, 0, 0, 1, 1, 2)]

    assert places == [0, 1, 2, 0, 1, 0]


def brought(count: int) -> list[dict[str, Any]]:
    plan = StackPlan(count, count, nowhere)
    samples = [sample(value=number) for number in range(count)]
    bring(plan, *samples)
    return samples


def test_a_stack_is_given_out_once() -> None:
    samples = brought(2)
    first, second = stack_of(samples), stack_of(samples)

    assert torch.equal(first, second)
    assert not np.shares_memory(first.numpy(), second.numpy())


@pytest.mark.parametrize("chosen", [(0, 1), (1, 0, 2), (2, 1, 0), (1, 2), (0, 1, 1), (0, 1, 2, 2)])
def test_other_images_than_those_of_the_stack_are_stacked_anew(chosen: tuple[int, ...]) -> None:
    samples = brought(3)
    other = stack_of([samples[number] for number in chosen])
    whole = stack_of(samples)

    assert not np.shares_memory(whole.numpy(), other.numpy())
    assert [float(number) for number in chosen] == other[:, 0, 0, 0].tolist()
    assert [0.0, 1.0, 2.0] == whole[:, 0, 0, 0].tolist()


def test_when_batches_are_others_there_are_no_more_seats_until_the_next_epoch() -> None:
    plan = StackPlan(2, 2, nowhere)
    samples = [sample(value=number) for number in range(5)]
    bring(plan, *samples)
    # A short one, or one with something else in it, does not say so.
    stack_of([samples[4], sample()])
    assert plan.next(0) is not None
    stack_of(samples[1:3])

    assert plan.next(0) is None
    assert [seat_of(plan, 1).place for _ in range(3)] == [0, 1, 0]


def test_images_of_two_stacks_are_stacked_anew() -> None:
    first, second = brought(2), brought(2)
    second[1]["img"] = DataContainer(late(2, 3, 9), stack=True)
    for one, other in ((first[0], second[0]), (second[0], first[1])):
        numbers = [image.held.item() for each in (one, other) if (image := each["img"].late)]
        assert numbers == stack_of([one, other])[:, 0, 0, 0].tolist()
    assert [0.0, 1.0] == stack_of(first)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("empty", [0, 2])
def test_a_place_of_nothing_leaves_the_others_to_collate(empty: int) -> None:
    """The thread has written each to memory of its own by then."""
    plan = StackPlan(3, 3, nowhere)
    samples = [sample(value=number) for number in range(3)]
    assert bring(plan, *(None if number == empty else samples[number] for number in range(3))) == [0] * 3

    assert [one["img"].late is None for one in samples] == [number != empty for number in range(3)]
    assert [0.0, 1.0, 2.0] == stack_of(samples)[:, 0, 0, 0].tolist()


def test_a_place_that_nothing_came_for_leaves_all_as_they_are() -> None:
    plan = StackPlan(3, 3, nowhere)
    samples = [sample(value=number) for number in range(3)]
    bring(plan, *samples[1:])

    assert all(one["img"].late is not None for one in samples)
    assert [0.0, 1.0, 2.0] == stack_of(samples)[:, 0, 0, 0].tolist()


def test_an_image_that_somebody_asked_for_is_copied() -> None:
    plan = StackPlan(2, 2, nowhere)
    samples = [sample(value=1), sample(value=2)]
    asked = samples[0]["img"].data
    bring(plan, *samples)
    stacked = stack_of(samples)

    assert [1.0, 2.0] == stacked[:, 0, 0, 0].tolist()
    assert not np.shares_memory(stacked.numpy(), asked.numpy())


def test_late_images_elsewhere_are_written_by_the_thread() -> None:
    containers = [DataContainer(late(2, 3), stack=True) for _ in range(4)]
    elsewhere = [{"img": containers[:2]}, {"img": 1, "other": {"img": containers[2]}}, (7, [containers[3]])]
    plan = StackPlan(3, 3, nowhere)
    assert bring(plan, *elsewhere) == [0] * 3

    assert [container.late for container in containers] == [None] * 4


def test_a_second_image_is_no_part_of_the_stack() -> None:
    plan = StackPlan(2, 2, nowhere)
    samples = [sample(value=n) | {"again": DataContainer(late(2, 3, n + 5), stack=True)} for n in range(2)]
    bring(plan, *samples)
    batch = collate(samples, samples_per_gpu=2)

    assert [one["again"].late for one in samples] == [None, None]
    assert [[0.0, 1.0], [5.0, 6.0]] == [batch[key].data[0][:, 0, 0, 0].tolist() for key in ("img", "again")]


def test_what_a_transform_keeps_is_not_what_the_consumer_has() -> None:
    """One that keeps its samples brings them again, after the batch was written to."""
    samples = [sample(value=number) for number in range(2)]
    for _ in range(2):
        plan = StackPlan(2, 2, nowhere)
        bring(plan, *samples)
        stacked = stack_of(samples)
        assert [0.0, 1.0] == stacked[:, 0, 0, 0].tolist()
        stacked[...] = 77


@pytest.mark.parametrize("odd", [7, [], {"img": 1}, {"img": DataContainer(torch.ones(3, 2, 3), stack=True)}])
def test_a_sample_without_a_late_image_is_left_alone(odd: Any) -> None:
    plan = StackPlan(2, 2, nowhere)
    before = odd["img"].data if isinstance(odd, dict) and odd["img"] != 1 else None
    other = sample(value=5)

    assert bring(plan, odd, other) == [0, 0]
    # There will be no stack: the thread has written the other one to memory of its own.
    assert other["img"].late is None
    if before is not None:
        assert odd["img"].data is before
        assert [1.0, 5.0] == stack_of([odd, other])[:, 0, 0, 0].tolist()


def test_different_channels_are_told_by_collate_as_ever() -> None:
    plan = StackPlan(2, 2, nowhere)
    samples = [sample(), sample(channels=1)]
    bring(plan, *samples)

    with pytest.raises(ValueError, match="cannot stack tensors of shapes"):
        stack_of(samples)


@pytest.mark.parametrize("count", [2, 3])
def test_nothing_is_kept_when_the_batch_is_gone(count: int) -> None:
    """Without the collector: memory is used again when its last reference goes."""
    gc.disable()
    try:
        plan = StackPlan(3, 3, nowhere)
        samples = [sample() for _ in range(count)]
        bring(plan, *samples)
        stacked = stack_of(samples)
        held = [weakref.ref(image.held) for one in samples if (image := one["img"].late)]
        memory = weakref.ref(stacked)
        plan.end()
        del samples, stacked, image

        assert [each() is None for each in held] == [True] * count
        assert memory() is None
    finally:
        gc.enable()


def test_memory_of_a_stack_that_is_gone_is_used_again() -> None:
    shape = (2, 3, 100, 161)
    first = new_stack(shape, torch.float32)
    address = first.data_ptr()
    kept = new_stack(shape, torch.float32)
    del first

    assert address in {new_stack(shape, torch.float32).data_ptr() for _ in range(4)}
    assert kept.data_ptr() != address
    assert (shape, torch.float32) == (tuple(kept.shape), kept.dtype)


def test_a_thread_does_not_wait_for_another_that_looks_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it look as well: the collector may run in there, and end a Loader, which waits for its threads."""
    inside = threading.Event()
    may_go = threading.Event()
    real = stacks._memory._blocks.find
    calls: list[int] = []

    def find(size_bytes: int) -> memoryview | None:
        calls.append(size_bytes)
        inside.set()
        assert may_go.wait(30)
        return real(size_bytes)

    monkeypatch.setattr(stacks._memory._blocks, "find", find)
    thread = threading.Thread(target=new_stack, args=((2, 1, 200, 202), torch.float32))
    thread.start()
    assert inside.wait(30)
    stack = new_stack((2, 1, 200, 202), torch.float32)
    may_go.set()
    thread.join()

    assert len(calls) == 1
    assert (stack.shape, stack.dtype) == ((2, 1, 200, 202), torch.float32)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_in_the_midst_of_it_does_not_wait_for_ever() -> None:
    with stacks._memory._lock:
        pid = os.fork()
        if pid == 0:
            new_stack((2, 1, 200, 200), torch.float32)
            os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("way", "size"),
    [
        (collate, 1),
        (partial(collate, samples_per_gpu=2), 2),
        (partial(collate, samples_per_gpu=9), 4),
        (partial(partial(collate, samples_per_gpu=3), samples_per_gpu=2), 2),
        (partial(collate, []), 1),
        (collate_detection, 1),
        (partial(collate, samples_per_gpu="2"), 1),
        (list, 1),
    ],
)
def test_how_many_are_stacked_is_seen_at_our_collate(way: Any, size: int) -> None:
    assert stack_size_of(way, 4) == size
