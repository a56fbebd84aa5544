from __future__ import annotations

import copy
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS

import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine
from asyncio_loader import Loader
from asyncio_loader.datasets.distributed import RankAndWorld
from asyncio_loader.datasets.quarantine import read_quarantine
from asyncio_loader.errors import ConfigError, ObjectNotFound, TooManyFailures, TransformError
from asyncio_loader.openmmlab.prefetch import PrefetchDataset
from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.testing import Fault, S3Simulator
from tests.unit.openmmlab.prefetch_case import COUNT, MAPPED, ImagesOfCase, LoadImageOfCase, images, seen


def reads(simulator: S3Simulator) -> Counter[str]:
    return Counter(f"{request.method} {request.key}" for request in simulator.requests())


def in_order(count: int = COUNT) -> list[tuple[int, int]]:
    return [(number, number) for number in range(count)]


def fail_on(number: int) -> Any:
    def transform(results: dict[str, Any]) -> dict[str, Any]:
        if results["number"] == number:
            raise ValueError("this one")
        return results

    return transform


def test_the_samples_are_those_of_the_dataset_inside(simulator: S3Simulator) -> None:
    assert seen(PrefetchDataset(ImagesOfCase(), shuffle=False)) == in_order()


def test_every_image_is_read_once(simulator: S3Simulator) -> None:
    list(PrefetchDataset(ImagesOfCase()))
    assert reads(simulator) == {f"GET {key}": 1 for key in images()}


def test_paths_that_are_uris_need_no_arguments(simulator: S3Simulator) -> None:
    dataset = PrefetchDataset(ImagesOfCase(root="s3://bucket/", pipeline=[LoadImageOfCase()]), shuffle=False)
    assert seen(dataset) == in_order()
    assert sum(reads(simulator).values()) == COUNT


def test_a_config_builds_it(simulator: S3Simulator) -> None:
    loader = {"type": "LoadImageOfCase", "backend_args": MAPPED}
    config = {
        "type": "PrefetchDataset",
        "dataset": {"type": "ImagesOfCase", "pipeline": [loader]},
        "shuffle": False,
        "options": {"max_in_flight": 4, "retry": {"max_attempts": 2}},
    }
    dataset = DATASETS.build(config)

    assert seen(dataset) == in_order()
    assert dataset.options == FetchOptions(max_in_flight=4, retry=RetryPolicy(max_attempts=2))


@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (lambda: ConcatDataset([ImagesOfCase(count=1), ImagesOfCase(count=2, first=3)]), [0, 3, 4]),
        (lambda: RepeatDataset(ImagesOfCase(count=2), 2), [0, 1, 0, 1]),
        (lambda: ClassBalancedDataset(ImagesOfCase(count=3), 0.5), [0, 0, 1, 2]),
        (lambda: ImagesOfCase(count=3, lazy_init=True), [0, 1, 2]),
    ],
    ids=["concat", "repeat", "balanced", "lazy"],
)
def test_wrappers_inside_get_each_image_ahead(simulator: S3Simulator, make: Any, numbers: list[int]) -> None:
    assert seen(PrefetchDataset(make(), shuffle=False)) == [(number, number) for number in numbers]
    assert sum(reads(simulator).values()) == len(numbers)


def test_threads_of_a_loader_find_each_its_own_image(simulator: S3Simulator) -> None:
    with Loader(PrefetchDataset(ImagesOfCase(), shuffle=False), 2, threads=4) as loader:
        assert seen(sample for batch in loader for sample in batch) == in_order()
    assert sum(reads(simulator).values()) == COUNT


def test_further_files_of_a_sample_are_read_the_usual_way(simulator: S3Simulator) -> None:
    def load_last(results: dict[str, Any]) -> dict[str, Any]:
        return {**results, **LoadImageOfCase(MAPPED)({"img_path": f"data/images/{COUNT - 1}.png"})}

    inside = ImagesOfCase(count=3, pipeline=[LoadImageOfCase(MAPPED), load_last])

    assert [pixel for _, pixel in seen(PrefetchDataset(inside))] == [COUNT - 1] * 3
    assert reads(simulator)[f"GET images/{COUNT - 1}.png"] == 3


def test_a_pipeline_that_wants_another_sample_gets_one_of_the_dataset(simulator: S3Simulator) -> None:
    def refuse_even(results: dict[str, Any]) -> dict[str, Any] | None:
        return results if results["number"] % 2 else None

    inside = ImagesOfCase(pipeline=[LoadImageOfCase(MAPPED), refuse_even])

    assert all(number == pixel and number % 2 for number, pixel in seen(PrefetchDataset(inside)))


def test_a_dataset_on_disk_works_as_before(tmp_path: Path) -> None:
    for key, data in images().items():
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(data)
    inside = ImagesOfCase(root=f"{tmp_path}/", pipeline=[LoadImageOfCase({"backend": "local"})])

    assert seen(PrefetchDataset(inside, shuffle=False)) == in_order()


def test_a_training_set_is_shuffled_anew_in_every_epoch(simulator: S3Simulator) -> None:
    dataset = PrefetchDataset(ImagesOfCase())
    first = seen(dataset)
    dataset.set_epoch(1)
    second = seen(dataset)

    assert len({tuple(first), tuple(second), tuple(in_order())}) == 3
    assert sorted(first) == sorted(second) == in_order()


def test_a_test_set_keeps_its_order(simulator: S3Simulator) -> None:
    assert seen(PrefetchDataset(ImagesOfCase(test_mode=True))) == in_order()


def test_ranks_share_the_epoch(simulator: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in range(2):
        monkeypatch.setattr("asyncio_loader.datasets.ordered.rank_and_world", lambda rank=rank: RankAndWorld(rank, 2))
        dataset = PrefetchDataset(ImagesOfCase(), batch_size=2)
        parts.append(seen(dataset))
        assert len(dataset) == len(parts[-1]) == -(-COUNT // 2)

    assert {*parts[0], *parts[1]} == {*in_order()}


def test_missing_images_raise_by_their_uri(simulator: S3Simulator) -> None:
    with pytest.raises(ObjectNotFound, match=r"s3://bucket/images/11\.png"):
        list(PrefetchDataset(ImagesOfCase(count=COUNT + 1)))


def test_missing_images_may_be_left_out(simulator: S3Simulator) -> None:
    assert seen(PrefetchDataset(ImagesOfCase(count=COUNT + 1), on_error="skip", shuffle=False)) == in_order()


def test_missing_images_may_be_replaced(simulator: S3Simulator) -> None:
    dataset = PrefetchDataset(ImagesOfCase(count=COUNT + 1), on_error="replace", shuffle=False)
    first, again = seen(dataset), seen(dataset)

    assert first == again
    assert first[:COUNT] == in_order()
    assert first[COUNT] in in_order()


def test_what_a_transform_raises_is_up_to_the_policy_too(simulator: S3Simulator) -> None:
    inside = ImagesOfCase(pipeline=[LoadImageOfCase(MAPPED), fail_on(3)])

    with pytest.raises(TransformError, match=r"images/3\.png.*ValueError: this one"):
        list(PrefetchDataset(inside))
    assert (3, 3) not in seen(PrefetchDataset(inside, on_error="skip"))


def test_poison_is_fetched_twice_then_written_down_and_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    poisoned = {**images(), "images/4.png": images()["images/4.png"][:60]}
    path = tmp_path / "q.jsonl"
    with S3Simulator(poisoned) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        dataset = PrefetchDataset(ImagesOfCase(), shuffle=False, on_error="replace", max_failures=1, quarantine=path)
        numbers = [number for number, _ in seen(dataset)]

    assert numbers[:4] + numbers[5:] == [*range(4), *range(5, COUNT)]
    assert numbers[4] != 4
    assert [(entry.key, entry.index, entry.attempts) for entry in read_quarantine(path)] == [
        ("s3://bucket/images/4.png", 4, 2)
    ]


def test_a_budget_holds_for_what_a_pipeline_raises(simulator: S3Simulator) -> None:
    inside = ImagesOfCase(pipeline=[LoadImageOfCase(MAPPED), fail_on(3)])

    with pytest.raises(TooManyFailures, match=r"images/3\.png \(TransformError\)"):
        seen(PrefetchDataset(inside, on_error="replace", max_failures=0))
    # What it raised has nothing to do with the bytes.
    assert reads(simulator)["GET images/3.png"] == 1


def test_a_fault_is_retried_before_the_pipeline_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Simulator(images(), faults=[Fault("status", times=1)]) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        options = {"retry": {"backoff_initial_s": 0.0}}
        assert seen(PrefetchDataset(ImagesOfCase(), shuffle=False, options=options)) == in_order()
        assert len(simulator.requests()) == 2 * COUNT


def test_metainfo_and_length_are_those_of_the_dataset_inside() -> None:
    dataset = PrefetchDataset(ImagesOfCase(count=5))
    assert dataset.metainfo["classes"] == ("cell",)
    assert len(dataset) == 5


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_a_copy_gives_the_same_samples(simulator: S3Simulator, duplicate: Any) -> None:
    dataset = PrefetchDataset(ImagesOfCase(), seed=3)
    assert seen(duplicate(dataset)) == seen(dataset)


def test_the_dataloaders_batch_size_is_taken_where_none_was_given() -> None:
    dataset = PrefetchDataset(ImagesOfCase())
    dataset.fit_batch_size(4)
    assert dataset.batch_size == 4
    dataset.fit_batch_size(None)
    assert dataset.batch_size == 1


def test_another_batch_size_than_the_dataloaders_is_refused() -> None:
    dataset = PrefetchDataset(ImagesOfCase(), batch_size=2)
    dataset.fit_batch_size(2)
    with pytest.raises(ConfigError, match="batch_size=2, but the dataloader's is 4"):
        dataset.fit_batch_size(4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dataset": [1, 2]}, "list has no get_data_info"),
        ({"drop_last": True}, "drop_last=True needs batch_size"),
        ({"options": {"max_inflight": 3}}, r"options has no field 'max_inflight' \(did you mean 'max_in_flight'"),
        ({"options": {"retry": {"tries": 3}}}, r"options.retry has no field 'tries' \(known: "),
        ({"options": 5}, "options must be FetchOptions or a dict of its fields, not 5"),
        ({"seed": "a"}, "seed must be a whole number of at least 0, not 'a'"),
        ({"shuffle": "no"}, "shuffle must be True, False or None, not 'no'"),
        ({"on_error": "ignore"}, "on_error must be one of"),
        ({"max_failures": -1}, "max_failures must be a number of samples"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PrefetchDataset(**{"dataset": ImagesOfCase(count=2), **arguments})


def test_a_dataset_without_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="ImagesOfCase is empty"):
        PrefetchDataset(ImagesOfCase(count=0, serialize_data=False))
