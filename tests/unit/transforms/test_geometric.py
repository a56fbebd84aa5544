from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.geometric import Pad, RandomFlip, Resize
from asyncio_loader.transforms.masks import BitmapMasks


def sample(height: int = 20, width: int = 40, seed: int = 0) -> dict[str, Any]:
    return {
        "img": np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3),
        "img_shape": (height, width, 3),
        "img_fields": ["img"],
        "gt_bboxes": np.array([[1, 2, 30, 50]], dtype=np.float32),
        "bbox_fields": ["gt_bboxes"],
        "gt_masks": BitmapMasks(np.eye(height, width, dtype=np.uint8)[None], height, width),
        "mask_fields": ["gt_masks"],
        "gt_semantic_seg": np.eye(height, width, dtype=np.uint8),
        "seg_fields": ["gt_semantic_seg"],
        "rng": np.random.default_rng(seed),
    }


@pytest.mark.parametrize("keep_ratio", [True, False])
def test_resize_takes_everything_along(keep_ratio: bool) -> None:
    results = Resize(img_scale=(80, 40), keep_ratio=keep_ratio)(sample())

    assert (40, 80, 3) == results["img"].shape == results["img_shape"] == results["pad_shape"]
    assert (1, 40, 80) == results["gt_masks"].masks.shape
    assert (40, 80) == results["gt_semantic_seg"].shape
    assert [2, 2, 2, 2] == results["scale_factor"].tolist()
    assert [[2, 4, 60, 40]] == results["gt_bboxes"].tolist()
    assert (np.float32, np.float32) == (results["gt_bboxes"].dtype, results["scale_factor"].dtype)


def test_resize_stretches_by_each_side() -> None:
    results = Resize(img_scale=(40, 60), keep_ratio=False)(sample())

    assert (60, 40, 3) == results["img_shape"]
    assert [1, 3, 1, 3] == results["scale_factor"].tolist()


def test_resize_leaves_boxes_unclipped_if_told_so() -> None:
    results = Resize(img_scale=(80, 40), bbox_clip_border=False)(sample())

    assert [[2, 4, 60, 100]] == results["gt_bboxes"].tolist()


def test_resize_obeys_the_scale_of_the_sample() -> None:
    results = Resize()({**sample(), "scale": (20, 10)})

    assert (10, 20, 3) == results["img_shape"]
    assert "scale_idx" not in results


def test_resize_obeys_the_factor_of_the_sample() -> None:
    assert (10, 20, 3) == Resize()({**sample(), "scale_factor": 0.5})["img_shape"]


def test_resize_refuses_a_second_time() -> None:
    resize = Resize(img_scale=(80, 40))
    with pytest.raises(ConfigError, match="override=True resizes it again"):
        resize(resize(sample()))


def test_resize_overrides_if_asked() -> None:
    results = Resize(img_scale=(20, 10), override=True)(Resize(img_scale=(80, 40))(sample()))

    assert (10, 20, 3) == results["img_shape"]


@pytest.mark.parametrize(
    ("results", "message"),
    [({}, "neither img_scale nor a 'scale'"), ({"scale_factor": np.ones(4)}, "'scale_factor' without 'scale' must be")],
)
def test_resize_needs_a_scale(results: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Resize()({**sample(), **results})


def test_resize_by_value_draws_one_of_the_scales() -> None:
    resize = Resize(img_scale=[(20, 10), (40, 20), (80, 40)], multiscale_mode="value")
    drawn = [(r["scale"], r["scale_idx"]) for r in (resize(sample(seed=i)) for i in range(40))]

    assert {((20, 10), 0), ((40, 20), 1), ((80, 40), 2)} == set(drawn)


def test_resize_by_range_draws_both_edges_and_includes_the_ends() -> None:
    resize = Resize(img_scale=[(20, 8), (22, 10)])
    drawn = {resize(sample(seed=i))["scale"] for i in range(80)}

    assert {(long, short) for long in (20, 21, 22) for short in (8, 9, 10)} == drawn


def test_resize_by_ratio_stays_within_it() -> None:
    resize = Resize(img_scale=(40, 20), ratio_range=(0.5, 2.0))
    drawn = [resize(sample(seed=i))["scale"] for i in range(40)]

    assert all(20 <= long < 80 and 10 <= short < 40 for long, short in drawn)
    assert len(set(drawn)) > 10


def test_resize_draws_from_the_generator_of_the_sample() -> None:
    resize = Resize(img_scale=[(20, 8), (220, 100)])

    assert resize(sample(seed=5))["scale"] == resize(sample(seed=5))["scale"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"img_scale": (10, 10), "multiscale_mode": "all"}, "multiscale_mode must be one of range, value"),
        ({"img_scale": (10, 10), "interpolation": "cubic"}, "interpolation must be one of nearest, bilinear"),
        ({"img_scale": (10, 10), "backend": "torch"}, "backend must be one of cv2, pillow"),
        ({"img_scale": (10, 10), "ratio_range": (2, 1)}, r"ratio_range must be \(least, greatest\)"),
        ({"img_scale": [(10, 10), (20, 20)], "ratio_range": (1, 2)}, "ratio_range needs exactly one img_scale"),
    ],
)
def test_resize_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Resize(**arguments)


@pytest.mark.parametrize(
    ("direction", "box"),
    [("horizontal", [10, 2, 39, 50]), ("vertical", [1, -30, 30, 18]), ("diagonal", [10, -30, 39, 18])],
)
def test_flip_takes_everything_along(direction: str, box: list[int]) -> None:
    axes = {"horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}[direction]
    before, results = sample(), RandomFlip(flip_ratio=1.0, direction=direction)(sample())

    assert (True, direction) == (results["flip"], results["flip_direction"])
    assert [box] == results["gt_bboxes"].tolist()
    np.testing.assert_array_equal(results["img"], np.flip(before["img"], axes))
    np.testing.assert_array_equal(results["gt_masks"].masks[0], np.flip(before["gt_masks"].masks[0], axes))
    np.testing.assert_array_equal(results["gt_semantic_seg"], np.flip(before["gt_semantic_seg"], axes))


def test_flip_says_that_it_did_not() -> None:
    results = RandomFlip(flip_ratio=0.0)(sample())

    assert (False, None) == (results["flip"], results["flip_direction"])


def test_flip_obeys_the_sample() -> None:
    results = RandomFlip()({**sample(), "flip": True, "flip_direction": "vertical"})

    assert [[1, -30, 30, 18]] == results["gt_bboxes"].tolist()


def test_flip_shares_one_probability_among_the_directions() -> None:
    flip = RandomFlip(flip_ratio=0.5, direction=["horizontal", "vertical"])
    drawn = [flip(sample(seed=i))["flip_direction"] for i in range(400)]

    assert {"horizontal", "vertical", None} == set(drawn)
    assert 160 < drawn.count(None) < 240
    assert 70 < drawn.count("vertical") < 130


def test_flip_takes_a_probability_for_each_direction() -> None:
    flip = RandomFlip(flip_ratio=[0.0, 0.5], direction=["horizontal", "vertical"])

    assert {"vertical", None} == {flip(sample(seed=i))["flip_direction"] for i in range(40)}


def test_flip_draws_from_the_generator_of_the_sample() -> None:
    drawn = [[RandomFlip(0.5)(sample(seed=i))["flip"] for i in range(20)] for _ in range(2)]

    assert drawn[0] == drawn[1]


def test_flip_needs_a_ratio_or_a_decision() -> None:
    with pytest.raises(ConfigError, match="neither flip_ratio nor 'flip'"):
        RandomFlip()(sample())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flip_ratio": 1.5}, "flip_ratio must be a probability"),
        ({"flip_ratio": -0.1}, "flip_ratio must be a probability"),
        ({"flip_ratio": "often"}, "flip_ratio must be a probability"),
        ({"flip_ratio": [0.6, 0.6], "direction": ["horizontal", "vertical"]}, "flip_ratio must be a probability"),
        ({"flip_ratio": [0.5], "direction": ["horizontal", "vertical"]}, "1 probabilities for 2 directions"),
        ({"flip_ratio": 0.5, "direction": "sideways"}, "direction must be one of horizontal, vertical, diagonal"),
    ],
)
def test_flip_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandomFlip(**arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "fixed_size"),
    [
        ({"size_divisor": 32}, (32, 64, 3), None),
        ({"size_divisor": 20}, (20, 40, 3), None),
        ({"size": (30, 50)}, (30, 50, 3), (30, 50)),
        ({"pad_to_square": True}, (40, 40, 3), (40, 40)),
    ],
)
def test_pad_reaches_the_size(arguments: dict[str, Any], shape: tuple[int, ...], fixed_size: object) -> None:
    results = Pad(**arguments)(sample())

    assert shape == results["img"].shape == results["pad_shape"]
    assert (20, 40, 3) == results["img_shape"]
    assert fixed_size == results["pad_fixed_size"]
    assert arguments.get("size_divisor") == results["pad_size_divisor"]
    assert (1, *shape[:2]) == results["gt_masks"].masks.shape
    assert shape[:2] == results["gt_semantic_seg"].shape


def test_pad_to_square_forgets_the_image_before() -> None:
    pad = Pad(pad_to_square=True)
    pad(sample(100, 100))

    assert (40, 40, 3) == pad(sample())["pad_shape"]


@pytest.mark.parametrize(
    ("pad_val", "expected"), [({"img": 7}, (7, 0, 255)), (9, (9, 9, 255)), ({"seg": 3, "masks": 1}, (0, 1, 3))]
)
def test_pad_has_a_value_for_each_kind(pad_val: Any, expected: tuple[int, int, int]) -> None:
    results = Pad(size=(21, 41), pad_val=pad_val)(sample())

    found = results["img"][-1, -1, 0], results["gt_masks"].masks[0, -1, -1], results["gt_semantic_seg"][-1, -1]
    assert expected == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of size, size_divisor and pad_to_square is needed"),
        ({"size": (9, 9), "size_divisor": 32}, "exactly one of"),
        ({"size_divisor": 32, "pad_to_square": True}, "exactly one of"),
        ({"size": 9}, r"size must be \(height, width\)"),
        ({"size_divisor": 0}, "size_divisor must be a whole number above 0"),
        ({"size_divisor": 32, "pad_val": "grey"}, "pad_val must be a number or a dict"),
    ],
)
def test_pad_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pad(**arguments)
