from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from asyncio_loader.pictures.marks import color_of
from asyncio_loader.show.drawing import _IGNORED, _PADDING, draw_sample, legend_of
from asyncio_loader.show.sample import ShownSample

GRAY = 100


def sample(**about: Any) -> ShownSample:
    """A gray image as large as a cell."""
    values: dict[str, Any] = {
        "key": "a.jpg",
        "notes": "400x400",
        "pixels": np.full((400, 400, 3), GRAY, np.uint8),
        "content": (400, 400),
        "boxes": None,
        "labels": [],
        "names": [],
        "ignored": np.zeros((0, 4), np.float32),
        "masks": None,
    }
    return ShownSample(**{**values, **about})


def pixels(shown: ShownSample) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(draw_sample(shown).image)


def changed(shown: ShownSample) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray((pixels(shown) != GRAY).any(axis=2))


def test_nothing_to_mark_leaves_the_image_as_it_is() -> None:
    assert not changed(sample()).any()
    assert draw_sample(sample()).captions == ["a.jpg", "400x400"]


def test_a_box_lies_where_its_corners_are_also_in_an_image_that_is_scaled() -> None:
    box = np.float32([[100, 50, 300, 350]])
    for size, factor in ((400, 1.0), (800, 0.5), (200, 2.0)):
        shown = sample(
            pixels=np.full((size, size, 3), GRAY, np.uint8),
            content=(size, size),
            boxes=box / factor,
            labels=[1],
            names=["WBC"],
        )

        drawn = pixels(shown)
        assert drawn.shape[:2] == (400, 400)
        assert tuple(drawn[200, 100]) == tuple(drawn[200, 300]) == tuple(drawn[350, 200]) == color_of(1)
        assert tuple(drawn[200, 200]) == (GRAY, GRAY, GRAY)


def test_padding_is_striped_and_nothing_else() -> None:
    marked = changed(sample(content=(300, 350)))

    assert not marked[:300, :350].any()
    assert 0.4 < marked[300:].mean() < 0.6
    assert 0.4 < marked[:, 350:].mean() < 0.6


def test_ignored_regions_are_striped_and_named() -> None:
    marked = changed(sample(ignored=np.float32([[100, 100, 200, 200]])))

    assert 0.4 < marked[110:190, 110:190].mean() < 0.6
    assert not marked[250:].any()
    # Above it.
    assert marked[88:98, 102:120].all()


def test_an_ignored_region_may_reach_over_the_edge() -> None:
    assert changed(sample(ignored=np.float32([[-50, 300, 900, 900]])))[301:].any()


def test_a_mask_is_tinted_and_has_an_edge_in_the_colour_of_its_class() -> None:
    mask = np.zeros((1, 400, 400), np.uint8)
    mask[0, 120:180, 120:180] = 1

    drawn = pixels(sample(masks=mask, labels=[2], names=["x"], boxes=np.float32([[100, 100, 200, 200]])))

    assert tuple(drawn[120, 150]) == color_of(2)
    assert tuple(drawn[150, 150]) not in ((GRAY, GRAY, GRAY), color_of(2))
    assert tuple(drawn[110, 150]) == (GRAY, GRAY, GRAY)


def test_the_legend_has_what_is_to_be_seen() -> None:
    boxes = np.zeros((2, 4), np.float32)
    one = sample(boxes=boxes, labels=[3, 0], names=["d", "a"])
    two = sample(boxes=boxes[:1], labels=[3], names=["d"], content=(300, 400), ignored=boxes)

    assert [(chip.name, chip.color) for chip in legend_of([one])] == [("a", color_of(0)), ("d", color_of(3))]
    assert [(chip.name, chip.color) for chip in legend_of([one, two])][2:] == [
        ("ignored", _IGNORED),
        ("padding", _PADDING),
    ]


def test_a_legend_of_a_thousand_classes_ends_somewhere() -> None:
    labels = list(range(1000))
    shown = sample(boxes=np.zeros((1000, 4), np.float32), labels=labels, names=[f"class {each}" for each in labels])

    assert [chip.name for chip in legend_of([shown])][-1] == "and 960 classes more"


def test_a_thin_image_is_still_one() -> None:
    shown = sample(pixels=np.full((1, 4000, 3), GRAY, np.uint8), content=(1, 4000))

    assert isinstance(draw_sample(shown).image, Image.Image)
    assert draw_sample(shown).image.size == (400, 1)
