from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import torch

from asyncio_loader.datasets.tensors import map_tensors
from asyncio_loader.transforms.formatting import DataContainer


class Pair(NamedTuple):
    image: torch.Tensor
    name: str


def test_every_tensor_is_changed_and_the_build_stays() -> None:
    one = torch.ones(1)
    batch = OrderedDict(
        images=[one, one], pair=Pair(one, "a name"), both=(one, 2), nested={"deep": [{"it": one}]}, count=3, none=None
    )

    changed = map_tensors(batch, lambda tensor: tensor + 1)

    two = torch.full((1,), 2.0)
    expected = {
        "images": [two, two],
        "pair": Pair(two, "a name"),
        "both": (two, 2),
        "nested": {"deep": [{"it": two}]},
        "count": 3,
        "none": None,
    }
    assert (type(changed), changed) == (dict, expected)
    assert type(changed["pair"]) is Pair
    # What was given is as it was.
    assert one.item() == 1


def test_containers_are_looked_into_unless_they_are_for_the_host() -> None:
    def changed(container: DataContainer) -> Any:
        return map_tensors({"it": container}, lambda tensor: tensor + 1)["it"]

    images = changed(DataContainer([torch.zeros(2)], stack=True, padding_value=7, pad_dims=1))
    assert (images.data[0].tolist(), images.stack, images.padding_value, images.pad_dims) == ([1, 1], True, 7, 1)

    masks = changed(DataContainer([torch.zeros(2)], cpu_only=True))
    assert (masks.data[0].tolist(), masks.cpu_only) == ([0, 0], True)


def test_what_is_none_of_them_is_the_same_object() -> None:
    thing = object()

    assert map_tensors([thing], lambda tensor: tensor)[0] is thing
