from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.dialect import MMDET_2X, MMDET_3X, Dialect, dialect_of


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        ({"data": {}}, MMDET_2X),
        ({}, MMDET_2X),
        # A user's variables.
        ({"data": {}, "train_cfg": {}, "resume": True, "seed": 1}, MMDET_2X),
        ({"train_dataloader": {}}, MMDET_3X),
        ({"default_hooks": {}, "data": None, "seed": 1}, MMDET_3X),
    ],
)
def test_keys_at_the_top_tell(config: dict[str, Any], dialect: Dialect) -> None:
    assert dialect_of(config) is dialect


def test_a_mixture_is_refused_and_its_keys_are_named() -> None:
    config = {"train_dataloader": {}, "optimizer": {}, "evaluation": {}, "optim_wrapper": {}, "log_config": None}

    with pytest.raises(ConfigError) as caught:
        dialect_of(config)

    assert str(caught.value) == (
        "optimizer, evaluation of mmdet 2.x and train_dataloader, optim_wrapper of 3.x: write the config, its _base_ "
        "included, in one dialect"
    )


def test_each_finds_its_data_set() -> None:
    old, new = {"data": {"val": {"a": 1}}}, {"val_dataloader": {"dataset": {"b": 2}}}

    assert (MMDET_2X.data_set("val"), MMDET_3X.data_set("val")) == ("data.val", "val_dataloader.dataset")
    assert MMDET_2X.find_data_set(old, "val") == {"a": 1}
    assert MMDET_3X.find_data_set(new, "val") == {"b": 2}


@pytest.mark.parametrize("config", [{}, {"data": None}, {"data": {"val": None}}, {"val_dataloader": None}])
def test_without_one_it_is_empty(config: dict[str, Any]) -> None:
    assert MMDET_2X.find_data_set(config, "val") == {}
    assert MMDET_3X.find_data_set(config, "val") == {}
