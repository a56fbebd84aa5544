from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from asyncio_loader.errors import StateMismatch
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.training.loops import EndlessBatches, EpochLoop, IterationLoop

SAMPLES = 6


class Epochs:
    """A loader of six samples whose batches are named ``epoch.position``; it is its own dataset."""

    metainfo: dict[str, Any] = {}  # noqa: RUF012 - read only

    def __init__(self, batch_size: int = 2) -> None:
        self.batch_size = batch_size
        self.epoch = 0
        self.loaded: list[str] = []
        self._start = self._consumed = 0

    @property
    def dataset(self) -> Epochs:
        return self

    def plan(self, batch_size: int) -> EpochPlan:
        return EpochPlan(order=range(SAMPLES), batch_size=batch_size, epoch=self.epoch, start=self._start)

    def __len__(self) -> int:
        return self.plan(self.batch_size).steps

    def __iter__(self) -> Iterator[str]:
        plan, self._start = self.plan(self.batch_size), 0
        for step in range(plan.steps_left):
            self.loaded.append(f"{self.epoch}.{plan.consumed_after(step)}")
            self._consumed = plan.consumed_after(step + 1)
            yield self.loaded[-1]

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self._start, self._consumed = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "consumed": self._consumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("plan"):
            raise StateMismatch("seed is 1 in the state and 0 here")
        self.epoch, self._start = state["epoch"], state["consumed"]
        self._consumed = self._start


class Trained:
    """As much of mmengine's Runner as loops ask for: writes down what is trained, and which hooks are called."""

    def __init__(self, loader: Epochs) -> None:
        self.loader = loader
        self.model = SimpleNamespace(train=lambda: None, train_step=lambda batch, **_: self.batches.append(batch))
        self.visualizer = SimpleNamespace(dataset_meta=None)
        self.optim_wrapper = self.val_loop = None
        self.batches: list[str] = []
        self.places: list[int] = []
        self.hooks: list[str] = []
        self.loop: Any = None

    def call_hook(self, name: str, batch_idx: int | None = None, **_: object) -> None:
        if name == "before_train_epoch" and isinstance(self.loop, EpochLoop):
            self.loader.set_epoch(self.loop.epoch)
        if name == "after_train_iter" and batch_idx is not None:
            self.places.append(batch_idx)
        if name.endswith("epoch"):
            self.hooks.append(f"{name} {self.loop.epoch}")


def by_epochs(state: dict[str, Any] | None, *, epoch: int, iteration: int, batch_size: int = 2) -> Trained:
    """Three epochs, gone on with from a checkpoint."""
    runner = Trained(Epochs(batch_size))
    runner.loop = EpochLoop(runner, runner.loader, max_epochs=3)
    runner.loop._epoch, runner.loop._iter = epoch, iteration
    runner.loop.go_on_from(state)
    return runner


def test_an_epoch_goes_on_behind_the_last_batch_that_was_trained() -> None:
    runner = by_epochs({"epoch": 1, "consumed": 4}, epoch=1, iteration=5)

    runner.loop.run()

    assert runner.batches == runner.loader.loaded == ["1.4", "2.0", "2.2", "2.4"]
    assert runner.places == [2, 0, 1, 2]
    assert (runner.loop.iter, runner.loop.max_iters) == (9, 9)


def test_at_the_end_of_an_epoch_only_what_follows_it_is_left() -> None:
    runner = by_epochs({"epoch": 1, "consumed": SAMPLES}, epoch=1, iteration=6)

    runner.loop.run()

    assert runner.hooks == [f"{name}_train_epoch {epoch}" for epoch in (1, 2) for name in ("before", "after")]
    assert runner.batches == ["2.0", "2.2", "2.4"]


def test_between_two_epochs_the_next_one_begins_at_its_start() -> None:
    runner = by_epochs({"epoch": 0, "consumed": SAMPLES}, epoch=1, iteration=3)

    runner.loop.run()

    assert runner.batches == ["1.0", "1.2", "1.4", "2.0", "2.2", "2.4"]
    assert runner.loop.max_iters == 9


@pytest.mark.parametrize(
    ("batch_size", "batches", "places", "last"),
    [(1, ["2.4", "2.5"], [4, 5], 10), (4, ["2.4"], [1], 9), (6, ["2.4"], [0], 9)],
)
def test_an_epoch_ends_where_its_data_end_whatever_the_batch_size_is_now(
    batch_size: int, batches: list[str], places: list[int], last: int
) -> None:
    runner = by_epochs({"epoch": 2, "consumed": 4}, epoch=2, iteration=8, batch_size=batch_size)
    assert runner.loop.max_iters == last

    runner.loop.run()

    assert (runner.batches, runner.places, runner.loop.iter) == (batches, places, last)


@pytest.mark.parametrize(("state", "iteration"), [(None, 4), ({"epoch": 5, "consumed": 2}, 16)])
def test_without_a_position_in_the_epoch_it_begins_anew_and_that_is_said(
    state: dict[str, Any] | None, iteration: int, caplog: pytest.LogCaptureFixture
) -> None:
    runner = by_epochs(state, epoch=1, iteration=iteration)

    runner.loop.run()

    assert runner.batches[:3] == ["1.0", "1.2", "1.4"]
    assert runner.loop.max_iters == runner.loop.iter == iteration + 6
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"of epoch 2 was trained when it was saved, after {iteration} iterations" in record.message


def test_without_a_position_the_end_of_an_epoch_is_known_as_such(caplog: pytest.LogCaptureFixture) -> None:
    by_epochs(None, epoch=1, iteration=3)

    assert caplog.records == []


def test_a_finished_run_has_nothing_left() -> None:
    runner = by_epochs({"epoch": 2, "consumed": SAMPLES}, epoch=3, iteration=9)

    runner.loop.run()

    assert (runner.batches, runner.hooks, runner.loop.max_iters) == ([], [], 9)


def test_other_data_are_refused_in_the_middle_of_an_epoch() -> None:
    with pytest.raises(StateMismatch, match="seed is 1"):
        by_epochs({"epoch": 1, "consumed": 4, "plan": {"seed": 1}}, epoch=1, iteration=5)


def test_other_data_may_begin_with_an_epoch(caplog: pytest.LogCaptureFixture) -> None:
    runner = by_epochs({"epoch": 0, "consumed": SAMPLES, "plan": {"seed": 1}}, epoch=1, iteration=3)

    runner.loop.run()

    assert runner.batches[0] == "1.0"
    assert "epoch 2 is the first one on other data, or in another order: seed is 1" in caplog.text


def test_a_new_run_needs_no_position() -> None:
    runner = Trained(Epochs())
    runner.loop = EpochLoop(runner, runner.loader, max_epochs=2)

    runner.loop.run()

    assert runner.places == [0, 1, 2, 0, 1, 2]
    assert runner.loop.max_iters == 6


def test_epoch_follows_epoch() -> None:
    assert list(islice(EndlessBatches(Epochs()), 7)) == ["0.0", "0.2", "0.4", "1.0", "1.2", "1.4", "2.0"]


def test_nobody_sleeps_between_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    list(islice(EndlessBatches(Epochs()), 7))

    assert slept == []


@pytest.mark.parametrize(
    ("count", "rest"), [(7, ["2.2", "2.4", "3.0"]), (6, ["2.0", "2.2", "2.4"]), (1, ["0.2", "0.4", "1.0"])]
)
def test_what_was_trained_is_skipped_without_loading(count: int, rest: list[str]) -> None:
    loader = Epochs()
    batches = EndlessBatches(loader)

    batches.skip_iter(count)

    assert loader.loaded == []
    assert list(islice(batches, 3)) == loader.loaded == rest


def by_iterations(state: dict[str, Any] | None, *, iteration: int, max_iters: int, batch_size: int = 2) -> Trained:
    runner = Trained(Epochs(batch_size))
    runner.loop = IterationLoop(runner, runner.loader, max_iters=max_iters)
    runner.loop._iter = iteration
    runner.loop.go_on_from(state)
    return runner


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_run_by_iterations_goes_on_at_its_position_whatever_the_batch_size_is_now(batch_size: int) -> None:
    runner = by_iterations({"epoch": 3, "consumed": 4}, iteration=9, max_iters=12, batch_size=batch_size)

    runner.loop.run()

    expected = {1: ["3.4", "3.5", "4.0"], 2: ["3.4", "4.0", "4.2"], 4: ["3.4", "4.0", "4.4"]}
    assert runner.batches == runner.loader.loaded == expected[batch_size]


@pytest.mark.parametrize(("batch_size", "epochs"), [(1, 6), (2, 8), (4, 9)])
def test_a_run_by_iterations_knows_how_many_epochs_are_left_with_batches_of_this_size(
    batch_size: int, epochs: int
) -> None:
    # Two samples of epoch 3 are left, an epoch has six, and eleven steps are to come.
    runner = by_iterations({"epoch": 3, "consumed": 4}, iteration=9, max_iters=20, batch_size=batch_size)

    assert runner.loader.dataset.epochs == epochs


def test_a_run_by_iterations_goes_on_behind_the_end_of_an_epoch() -> None:
    runner = by_iterations({"epoch": 3, "consumed": SAMPLES}, iteration=12, max_iters=13)

    runner.loop.run()

    assert runner.batches == ["4.0"]


def test_without_a_position_it_follows_from_the_iterations() -> None:
    runner = by_iterations(None, iteration=4, max_iters=6)

    runner.loop.run()

    assert runner.batches == runner.loader.loaded == ["1.2", "1.4"]


def test_other_data_are_refused_in_a_run_by_iterations() -> None:
    with pytest.raises(StateMismatch):
        by_iterations({"epoch": 0, "consumed": SAMPLES, "plan": {"seed": 1}}, iteration=3, max_iters=6)
