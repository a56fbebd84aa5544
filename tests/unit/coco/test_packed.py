from __future__ import annotations

import pickle

import pytest

from asyncio_loader.coco.packed import PackedList

ITEMS = [{"id": 1, "file_name": "ä.jpg"}, None, [[1, 2.5]], "x"]


def test_items_come_back_as_they_were() -> None:
    packed = PackedList(ITEMS)

    assert ITEMS == [packed[i] for i in range(len(packed))]


def test_every_look_gives_a_new_object() -> None:
    packed = PackedList(ITEMS)
    packed[0]["id"] = 2

    assert ITEMS[0] == packed[0]


@pytest.mark.parametrize("position", [-1, 4])
def test_positions_outside_are_refused(position: int) -> None:
    with pytest.raises(IndexError, match="of 4 items"):
        PackedList(ITEMS)[position]


def test_it_pickles() -> None:
    packed = pickle.loads(pickle.dumps(PackedList(ITEMS)))

    assert ITEMS == [packed[i] for i in range(len(packed))]


def test_an_empty_one_has_no_items() -> None:
    assert len(PackedList([])) == 0
