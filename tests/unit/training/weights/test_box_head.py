from __future__ import annotations

import pytest
import torch

from asyncio_loader.training.weights.box_head import (
    has_background_first,
    to_background_first,
    to_background_last,
    with_background,
    without_background,
)


@pytest.mark.parametrize("has_old_names", [True, False])
@pytest.mark.parametrize(("box_rows", "expected"), [(4 * 81, True), (4 * 80, False)])
def test_the_rows_of_the_regressor_tell_the_order_whatever_the_names_are(
    box_rows: int, expected: bool, has_old_names: bool
) -> None:
    assert has_background_first(81, box_rows, has_old_names=has_old_names) is expected


@pytest.mark.parametrize("box_rows", [4, None])
@pytest.mark.parametrize("has_old_names", [True, False])
def test_the_names_tell_where_the_rows_do_not(box_rows: int | None, has_old_names: bool) -> None:
    assert has_background_first(81, box_rows, has_old_names=has_old_names) is has_old_names


def test_the_background_moves_to_the_front_and_back() -> None:
    classes = torch.tensor([[1.0], [2.0], [0.0]])

    first = to_background_first(classes)

    assert first.flatten().tolist() == [0, 1, 2]
    assert to_background_last(first).equal(classes)


def test_the_background_gets_boxes_of_zeros() -> None:
    boxes = torch.arange(1.0, 9.0)

    assert with_background(boxes, 3).tolist() == [0] * 4 + boxes.tolist()
    assert without_background(with_background(boxes, 3)).equal(boxes)


def test_boxes_for_all_classes_alike_become_those_of_every_class() -> None:
    boxes = torch.arange(8.0).reshape(4, 2)

    rows = with_background(boxes, 3)

    assert rows[4:8].equal(boxes)
    assert rows[8:].equal(boxes)
    assert len(rows) == 12


def test_rows_of_no_known_order_stay() -> None:
    boxes = torch.zeros(7, 2)

    assert with_background(boxes, 3) is boxes
