from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets.position import Position
from asyncio_loader.datasets.recipe import Recipe
from asyncio_loader.datasets.state import (
    VERSION,
    check_description,
    describe_refs,
    describe_shard,
    make_state,
    of_stateful_dataloader,
    read_shard,
    read_state,
)
from asyncio_loader.datasets.stream import Part, Progress
from asyncio_loader.errors import StateMismatch
from asyncio_loader.order.ordering import Grouped, Ordering, Sequential, Shuffled, Weighted
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import ObjectRef

PLAN = {"order": "shuffled", "length": 20, "seed": 3}


def test_a_state_is_read_as_it_was_made() -> None:
    state = make_state(Position(3, 40), PLAN)

    assert read_state(state) == (Position(3, 40), PLAN)
    assert state["version"] == VERSION


def test_json_takes_a_state_and_gives_it_back() -> None:
    state = make_state(Position(3, 40), PLAN)

    assert json.loads(json.dumps(state)) == state


def test_a_checkpoint_that_is_read_without_trust_may_hold_a_state() -> None:
    state = make_state(Position(3, 40), {**PLAN, "seed": None, "digest": "00ff"})
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)

    assert torch.load(file, weights_only=True) == state


def test_a_state_does_not_change_with_what_it_was_made_of() -> None:
    description = dict(PLAN)
    state = make_state(Position(0, 0), description)
    description["seed"] = 4

    assert state["plan"] == PLAN


def test_epoch_and_number_of_samples_will_do() -> None:
    assert read_state({"epoch": 3, "consumed": 40}) == (Position(3, 40), None)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"a state has 'epoch' and 'consumed', which \{\} has not"),
        ({"epoch": 1}, "a state has 'epoch' and 'consumed'"),
        ([1, 2], "a state has 'epoch' and 'consumed'"),
        (None, "a state has 'epoch' and 'consumed', which None has not"),
        ({"_snapshot": {}, "_steps_since_snapshot": 0}, "StatefulDataLoader goes through .*of_stateful_dataloader"),
        ({"epoch": 1, "consumed": 2, "version": 2}, "is of version 2, and this asyncio_loader reads version 1"),
        ({"epoch": 1, "consumed": 2, "version": None}, "is of version None"),
        ({"epoch": 1, "consumed": 2, "sampels": 3, "rank": 0}, "a state has no 'rank', 'sampels'"),
        ({"epoch": -1, "consumed": 2}, "epoch of a state must be a whole number of at least 0, not -1"),
        ({"epoch": True, "consumed": 2}, "epoch of a state must be a whole number of at least 0, not True"),
        ({"epoch": 1, "consumed": -2}, "consumed of a state must be a whole number of at least 0, not -2"),
        ({"epoch": 1, "consumed": 2.0}, r"consumed of a state must be a whole number of at least 0, not 2\.0"),
        ({"epoch": 1, "consumed": "2"}, "consumed of a state must be a whole number of at least 0, not '2'"),
        ({"epoch": 1, "consumed": 2, "plan": "shuffled"}, "plan of a state must be a dict, not 'shuffled'"),
    ],
)
def test_what_is_no_state_is_refused(state: Any, message: str) -> None:
    with pytest.raises(StateMismatch, match=message):
        read_state(state)


def test_a_refusal_shows_little_of_what_is_large() -> None:
    with pytest.raises(StateMismatch) as caught:
        read_state({"weights": list(range(10_000))})
    assert len(str(caught.value)) < 300


def test_the_same_plan_is_let_through() -> None:
    check_description(dict(PLAN), dict(PLAN))


def test_the_state_of_another_plan_is_refused_with_all_that_differs() -> None:
    with pytest.raises(StateMismatch) as caught:
        check_description({"order": "shuffled", "length": 20, "seed": 3, "groups": "ab"}, {**PLAN, "seed": 4, "x": 1})

    assert str(caught.value) == (
        "the state belongs to another plan: seed is 3 in the state and 4 here; x is 'none' in the state and 1 here; "
        "groups is 'ab' in the state and 'none' here"
    )


def test_a_set_of_samples_is_known_by_number_and_names() -> None:
    names = [f"{n}.jpg" for n in range(100)]
    described = describe_refs([f"s3://a/{name}" for name in names])

    assert described["samples"] == 100
    assert described == describe_refs([ObjectRef(f"/data/copied/{name}", 5) for name in names])
    assert described != describe_refs([f"s3://a/{name}" for name in names[:-1]])
    assert described != describe_refs([f"s3://a/{name}" for name in [*names[:-1], "100.jpg"]])
    assert described != describe_refs([f"s3://a/{name}" for name in ["first.jpg", *names[1:]]])
    assert described != describe_refs([f"s3://a/{name}" for name in reversed(names)])


@pytest.mark.parametrize("name", ["", "only.jpg", "\udcff.jpg", "directory/"])
def test_one_sample_of_any_name_is_described(name: str) -> None:
    assert describe_refs([name])["samples"] == 1


def test_of_a_hundred_million_samples_a_few_are_looked_at() -> None:
    looked_at = []

    class Many:
        def __len__(self) -> int:
            return 100_000_000

        def __getitem__(self, index: int) -> str:
            looked_at.append(index)
            return f"s3://bucket/{index}.jpg"

    described = describe_refs(Many())  # type: ignore[arg-type]

    assert described["samples"] == 100_000_000
    assert len(looked_at) == 32
    assert (min(looked_at), max(looked_at)) == (0, 99_999_999)


# What describes the order of a dataset, with the longest values that each of them can have.
LONG = [
    Sequential(10**18),
    Shuffled(10**18, 2**63),
    Weighted(np.linspace(0.1, 1e300, 10_000), 10**18, 2**63),
    Grouped(np.arange(10_000) % 7, 2**30, shuffle=True, seed=2**63),
]


@pytest.mark.parametrize("ordering", LONG, ids=lambda ordering: type(ordering).__name__)
def test_a_state_is_small_whatever_it_describes(ordering: Ordering) -> None:
    description = {**ordering.describe(), "sample_seed": 2**63, "digest": "f" * 16}
    description |= describe_refs([f"s3://bucket/{'long/' * 500}{n}{'name' * 500}" for n in range(64)])
    state = make_state(Position(2**62, 10**18), description)

    assert len(json.dumps(state)) < 2048


def part(*, length: int = 20, batch_size: int = 2, ranks: int = 1, start: int = 0, shard: Shard, skip: int = 0) -> Part:
    recipe = Recipe(refs=[""], transform=None, on_error="raise", on_void="replace", seed=0, order=range(1))
    plan = EpochPlan(order=range(length), batch_size=batch_size, ranks=ranks, start=start)
    return Part(plan, shard, skip, recipe, identity=())


def worker_state(passed: int, **options: Any) -> dict[str, Any]:
    """What a worker tells after so many of its samples."""
    progress = Progress(part(**options))
    progress.passed = passed
    state = make_state(Position(5, progress.consumed), PLAN)
    return state | {"shard": describe_shard(progress)}


def of_workers(states: list[dict[str, Any]], steps_since: int = 0) -> dict[str, Any]:
    """The state of a StatefulDataLoader with workers, as far as it concerns us."""
    snapshots = {f"worker_{n}": {"worker_id": n, "dataset_state": state} for n, state in enumerate(states)}
    return {"_snapshot": {"_worker_snapshots": snapshots}, "_steps_since_snapshot": steps_since}


def test_json_takes_the_state_of_a_worker_and_it_is_small() -> None:
    state = worker_state(10**15, length=10**18, ranks=10_000, batch_size=1000, shard=Shard(9999, 63, 64))

    assert json.loads(json.dumps(state)) == state
    assert len(json.dumps(state)) < 2048


def test_a_worker_goes_on_from_its_own_state() -> None:
    shard = Shard(1, 2, 3)
    state = worker_state(5, length=100, ranks=2, start=8, shard=shard)

    assert read_shard(state["shard"], 5, shard, ranks=2, batch_size=2) == (Position(5, 8), 5)


@pytest.mark.parametrize(
    ("own", "ranks", "batch_size"),
    [
        (Shard(0, 2, 3), 2, 2),
        (Shard(1, 1, 3), 2, 2),
        (Shard(1, 2, 4), 2, 2),
        (Shard(1, 2, 3), 4, 2),
        (Shard(1, 2, 3), 2, 1),
        (None, 2, 2),
    ],
)
def test_the_state_of_another_worker_or_geometry_is_refused(own: Shard | None, ranks: int, batch_size: int) -> None:
    state = worker_state(5, length=100, ranks=2, start=8, shard=Shard(1, 2, 3))

    with pytest.raises(
        StateMismatch, match=r"with other workers, ranks or batches: .* to asyncio_loader\.datasets\.state\.of_"
    ):
        read_shard(state["shard"], 5, own, ranks, batch_size)


def test_without_workers_the_datasets_state_is_that_of_the_stateful_dataloader() -> None:
    state = make_state(Position(5, 6), PLAN)

    assert of_stateful_dataloader({"dataset_state": state, "fetcher_state": {}}) == state


@pytest.mark.parametrize(
    ("passed", "consumed"),
    [
        ([0, 0], 0),
        ([2, 0], 2),
        ([2, 2], 4),
        ([4, 2], 6),
        ([10, 8], 18),
        ([10, 10], 20),
    ],
)
def test_workers_take_turns_so_their_states_tell_how_far_all_are(passed: list[int], consumed: int) -> None:
    state = of_workers([worker_state(n, shard=Shard(0, w, 2)) for w, n in enumerate(passed)])

    assert of_stateful_dataloader(state) == make_state(Position(5, consumed), PLAN)


def test_steps_since_the_snapshot_are_consumed_too() -> None:
    state = of_workers([worker_state(n, shard=Shard(0, w, 2)) for w, n in enumerate([4, 2])], steps_since=3)

    assert of_stateful_dataloader(state)["consumed"] == 12


def test_all_ranks_have_gone_as_far_as_this_one() -> None:
    workers = [worker_state(n, length=100, ranks=3, start=9, shard=Shard(1, w, 2)) for w, n in enumerate([4, 2])]

    # Three steps of two samples on each of three ranks.
    assert of_stateful_dataloader(of_workers(workers))["consumed"] == 9 + 3 * 2 * 3


def test_an_epoch_whose_last_step_is_done_is_over() -> None:
    workers = [worker_state(n, length=21, shard=Shard(0, w, 2)) for w, n in enumerate([11, 10])]

    assert of_stateful_dataloader(of_workers(workers))["consumed"] == 21


def test_a_worker_that_had_nothing_to_do_does_not_hold_the_others_back() -> None:
    workers = [worker_state(n, length=4, shard=Shard(0, w, 3)) for w, n in enumerate([2, 2, 0])]
    behind = [worker_state(n, length=4, shard=Shard(0, w, 3)) for w, n in enumerate([2, 0, 0])]

    assert of_stateful_dataloader(of_workers(workers))["consumed"] == 4
    assert of_stateful_dataloader(of_workers(behind))["consumed"] == 2


@pytest.mark.parametrize(
    "state",
    [
        {},
        None,
        [],
        {"dataset_state": None},
        {"dataset_state": {"rows": 5}},
        {"_snapshot": {"_worker_snapshots": {}}, "_steps_since_snapshot": 0},
        {"_snapshot": {"_worker_snapshots": {"worker_0": {"dataset_state": None}}}, "_steps_since_snapshot": 0},
        {"_snapshot": {"_worker_snapshots": {"worker_0": {"dataset_state": {"rows": 1}}}}, "_steps_since_snapshot": 0},
        {"_snapshot": None, "_steps_since_snapshot": 0},
        {"epoch": 1, "consumed": 2},
    ],
)
def test_what_is_no_state_of_a_stateful_dataloader_over_our_dataset_is_refused(state: Any) -> None:
    with pytest.raises(StateMismatch):
        of_stateful_dataloader(state)


def test_a_worker_without_a_share_of_its_own_is_refused() -> None:
    with pytest.raises(StateMismatch, match="not a state of a StatefulDataLoader"):
        of_stateful_dataloader(of_workers([worker_state(2, shard=Shard(0, 0, 2)), {"epoch": 5, "consumed": 0}]))


def test_the_version_of_another_time_is_refused_there_too() -> None:
    with pytest.raises(StateMismatch, match="version 7"):
        of_stateful_dataloader({"dataset_state": {**make_state(Position(0, 0), PLAN), "version": 7}})
