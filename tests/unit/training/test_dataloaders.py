from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.dataloaders import DataloaderKeys, data_set_arguments, known_arguments, read_dataloader
from asyncio_loader.training.sections import Section
from tests.unit.training.config_3x import config_3x


def read(split: str = "train", **changes: Any) -> DataloaderKeys:
    paths = {f"{split}_dataloader.{path.replace('__', '.')}": value for path, value in changes.items()}
    return read_dataloader(Section(config_3x(paths)), split)


def refusal(split: str, changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        read(split, **changes)
    return str(caught.value)


def order(keys: DataloaderKeys) -> tuple[bool, bool, bool]:
    return keys.shuffles, keys.drop_last, keys.groups_by_aspect


def test_training_is_shuffled_and_by_orientation_where_the_samplers_say_so() -> None:
    assert order(read()) == (True, False, True)
    assert order(read(sampler__shuffle=False, batch_sampler=None)) == (False, False, False)
    assert order(read(sampler=None, batch_size=1)) == (True, False, False)
    assert order(read(sampler={"type": "InfiniteSampler"})) == (True, False, True)


def test_the_last_batch_is_left_out_where_either_says_so() -> None:
    assert read(drop_last=True).drop_last
    assert read(batch_sampler__drop_last=True).drop_last


def test_an_evaluation_is_in_order() -> None:
    keys = read("val")

    assert (keys.batch_size, keys.thread_count, *order(keys)) == (1, 3, False, False, False)
    assert order(read("val", sampler=None)) == (False, False, False)


def test_no_workers_means_one_thread() -> None:
    assert read(num_workers=0).thread_count == 1


@pytest.mark.parametrize(
    ("split", "changes", "start"),
    [
        ("train", {"batch_size": ...}, "train_dataloader.batch_size is missing"),
        ("train", {"sampler__type": "Mine"}, "train_dataloader.sampler.type='Mine' must be"),
        ("train", {"sampler__seed": 3}, "train_dataloader.sampler.seed=3 must be None: the seed of the order is"),
        ("train", {"batch_sampler__type": "Mine"}, "train_dataloader.batch_sampler.type='Mine' must be"),
        ("train", {"collate_fn": {"type": "mine"}}, "train_dataloader.collate_fn={'type': 'mine'} must be"),
        (
            "train",
            {"persistent_worker": True},
            "train_dataloader.persistent_worker=True: there is no such key; did you",
        ),
        ("train", {"dataset": None}, "train_dataloader.dataset=None must be a dict"),
        ("val", {"sampler__shuffle": True}, "val_dataloader.sampler.shuffle=True must be False: an evaluation is of"),
        ("val", {"drop_last": True}, "val_dataloader.drop_last=True: an evaluation is of every image, in order"),
        ("val", {"batch_sampler": {"type": "AspectRatioBatchSampler"}}, "val_dataloader.batch_sampler={'type': "),
        ("test", {}, "test_dataloader is missing"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(split: str, changes: dict[str, Any], start: str) -> None:
    assert refusal(split, changes).startswith(start)


def arguments(**values: Any) -> dict[str, Any]:
    return data_set_arguments(Section({"type": "CocoDataset", "ann_file": "a.json", **values}, "x.dataset"))


def test_a_data_set_is_one_of_3x_even_where_no_key_shows_it() -> None:
    assert arguments(test_mode=True, lazy_init=False, serialize_data=True) == {"ann_file": "a.json", "data_prefix": {}}
    assert arguments(data_prefix={"img": "i/"})["data_prefix"] == {"img": "i/"}


def test_what_the_loader_can_do_may_be_said_as_well() -> None:
    values = {"on_error": "skip", "options": {"max_in_flight": 3}, "quarantine": "q"}

    assert values.items() <= arguments(**values).items()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"img_prefix": "i/"}, "x.dataset.img_prefix='i/' is a key of mmdet 2.x: in 3.x say data_prefix=dict(img=…)"),
        ({"classes": ["a"]}, "x.dataset.classes=['a'] is a key of mmdet 2.x: in 3.x say metainfo=dict(classes=…)"),
        ({"file_client_args": {}}, "x.dataset.file_client_args={} is a key of mmdet 2.x: in 3.x say backend_args=…"),
        ({"data_prefx": {}}, "x.dataset.data_prefx={}: there is no such key; did you mean 'data_prefix'?"),
        ({"type": "RepeatDataset"}, "x.dataset.type='RepeatDataset' must be 'CocoDataset'"),
        ({"seed": 3}, "x.dataset.seed=3: there is no such key"),
    ],
)
def test_a_key_that_a_data_set_of_3x_has_not_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        arguments(**values)

    assert str(caught.value).startswith(said)


def test_the_run_decides_the_order() -> None:
    assert {"self", "seed", "shuffle", "batch_size"}.isdisjoint(known_arguments())
    assert "classes" not in known_arguments(leave_out=["classes"])
