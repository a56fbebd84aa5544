from __future__ import annotations

import copy
import os
import pickle
from typing import Any

import pytest

from asyncio_loader.datasets.position import Position, SharedPosition
from asyncio_loader.errors import ConfigError

COPIES = [copy.deepcopy, lambda original: pickle.loads(pickle.dumps(original))]


def test_the_first_iteration_begins_at_the_first_sample_of_epoch_0() -> None:
    position = SharedPosition()

    assert position.epoch == 0
    assert position.begin() == position.begin(worker=3) == Position(0, 0)


def test_a_starting_position_counts_once_for_the_process_and_once_for_each_worker() -> None:
    position = SharedPosition()
    position.load(Position(2, 30))

    begun = [position.begin(worker) for worker in (None, 0, 1, None, 1, 0, 1023)]

    assert [start for _, start in begun] == [30, 30, 30, 0, 0, 0, 30]
    assert {epoch for epoch, _ in begun} == {2}


def test_looking_where_an_iteration_would_begin_begins_none() -> None:
    position = SharedPosition()
    position.load(Position(1, 5))

    assert [position.next(), position.next(), position.next(0), position.next(0)] == [Position(1, 5)] * 4
    assert not position.workers_began


def test_a_position_that_is_loaded_again_counts_again() -> None:
    position = SharedPosition()
    for _ in range(2):
        position.load(Position(1, 5))
        assert position.begin() == Position(1, 5)


def test_choosing_the_same_epoch_keeps_the_starting_position() -> None:
    position = SharedPosition()
    position.load(Position(4, 7))
    position.set_epoch(4)

    assert position.begin() == Position(4, 7)


def test_choosing_another_epoch_begins_it_at_its_first_sample() -> None:
    position = SharedPosition()
    position.load(Position(4, 7))
    position.set_epoch(5)

    assert position.begin() == Position(5, 0)
    assert position.begin(worker=0) == Position(5, 0)


def test_what_was_noted_before_another_position_was_chosen_is_void() -> None:
    position = SharedPosition()
    serials = [position.serial]
    position.load(Position(0, 3))
    serials.append(position.serial)
    position.set_epoch(1)
    serials.append(position.serial)
    position.set_epoch(1)
    position.begin()

    assert len(set(serials)) == 3
    assert position.serial == serials[-1]


def test_it_tells_whether_a_worker_has_begun_since_the_epoch_was_chosen() -> None:
    position = SharedPosition()
    position.begin()
    assert not position.workers_began

    position.begin(worker=1)
    assert position.workers_began

    position.set_epoch(0)
    assert not position.workers_began

    position.begin(worker=1)
    position.load(Position(0, 0))
    assert not position.workers_began


def test_epochs_and_positions_may_be_as_large_as_anyone_has_them() -> None:
    position = SharedPosition()
    position.load(Position(2**40, 2**62))

    assert position.begin() == Position(2**40, 2**62)


def test_a_forked_child_and_its_parent_see_each_other() -> None:
    position = SharedPosition()
    to_child, from_parent = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(to_child, 1)
            os._exit(7 if position.begin(worker=1) == Position(3, 11) else 1)
        finally:
            os._exit(2)
    position.load(Position(3, 11))
    os.write(from_parent, b"x")
    _, status = os.waitpid(child, 0)
    os.close(to_child)
    os.close(from_parent)

    assert os.waitstatus_to_exitcode(status) == 7
    assert position.workers_began
    assert position.next(worker=1) == Position(3, 0)
    assert position.next(worker=0) == Position(3, 11)


@pytest.mark.parametrize("copied", COPIES, ids=["copied", "pickled"])
def test_a_copy_has_the_same_position_in_a_memory_of_its_own(copied: Any) -> None:
    original = SharedPosition()
    original.load(Position(2, 9))
    own = copied(original)
    assert own.begin() == Position(2, 9)

    own.set_epoch(3)

    assert original.begin() == Position(2, 9)


@pytest.mark.parametrize("copied", COPIES, ids=["copied", "pickled"])
def test_a_copy_is_shared_with_its_own_children(copied: Any) -> None:
    own = copied(SharedPosition())
    child = os.fork()
    if child == 0:
        own.set_epoch(6)
        os._exit(0)
    os.waitpid(child, 0)

    assert own.epoch == 6


def test_more_workers_than_anyone_has_are_refused() -> None:
    position = SharedPosition()

    with pytest.raises(ConfigError, match="num_workers must be at most 1024: there is a worker 1024"):
        position.begin(worker=1024)
