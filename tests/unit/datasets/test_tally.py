from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from torch import multiprocessing

from asyncio_loader.datasets.tally import SharedTally


def begun(epoch: int, *workers: int) -> SharedTally:
    tally = SharedTally()
    for worker in workers:
        tally.begin(worker, epoch)
    return tally


def test_failures_of_all_workers_add_up() -> None:
    tally = begun(3, 0, 1)

    assert [tally.add(0, 2), tally.add(1, 2), tally.add(1, 2)] == [1, 2, 3]


def test_a_new_iteration_begins_at_zero() -> None:
    tally = begun(0, 0, 1)
    tally.add(0, 2)
    tally.begin(0, 0)

    assert tally.add(0, 2) == 1


def test_a_worker_that_is_still_in_the_epoch_before_does_not_count() -> None:
    tally = begun(0, 0, 1)
    tally.add(1, 2)
    tally.begin(0, 1)

    assert tally.add(0, 2) == 1


def test_workers_of_an_earlier_dataloader_do_not_count() -> None:
    tally = begun(0, 0, 1, 2)
    tally.add(2, 3)

    assert tally.add(1, 2) == 1


def _count(tally: SharedTally) -> None:
    tally.begin(1, 0)
    tally.add(1, 2)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_is_seen_in_other_processes(method: str) -> None:
    tally = begun(0, 0)
    process = multiprocessing.get_context(method).Process(target=_count, args=(tally,))
    process.start()
    process.join()

    assert process.exitcode == 0
    assert tally.add(0, 2) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda original: pickle.loads(pickle.dumps(original))])
def test_a_copy_counts_for_itself(copied: Any) -> None:
    original = begun(0, 0)
    own = copied(original)
    own.add(0, 1)

    assert original.add(0, 1) == 1
    assert own._rows.is_shared()
