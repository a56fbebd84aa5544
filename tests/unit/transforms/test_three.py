from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms import Compose, three
from asyncio_loader.transforms.geometric import Pad, RandomFlip, Resize
from asyncio_loader.transforms.loading import LoadAnnotations
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks

# pycocotools 2.0.11 has not followed numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]
RUNS = {"size": [20, 40], "counts": [100, 10, 690]}


def sample(**fields: Any) -> dict[str, Any]:
    return {
        "img_path": "a.png",
        "img": np.arange(20 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 40, 3),
        "img_shape": (20, 40),
        "ori_shape": (20, 40),
        "gt_bboxes": np.array([[1, 2, 30, 50]], dtype=np.float32),
        "gt_masks": BitmapMasks(np.eye(20, 40, dtype=np.uint8)[None], 20, 40),
        "rng": np.random.default_rng(0),
        **fields,
    }


def instance(mask: Any, ignore_flag: int = 0) -> dict[str, Any]:
    return {"bbox": [1.25, 2, 3, 4], "bbox_label": 5, "ignore_flag": ignore_flag, "mask": mask}


def test_a_resize_notes_ratios_of_the_rounded_size_and_the_way_from_the_original() -> None:
    results = Resize(scale=(90, 41), keep_ratio=True)(sample())

    assert (41, 82) == results["img"].shape[:2] == results["img_shape"]
    assert ((90, 41), (82 / 40, 41 / 20), True) == tuple(results[k] for k in ("scale", "scale_factor", "keep_ratio"))
    assert (1, 41, 82) == results["gt_masks"].masks.shape
    np.testing.assert_allclose(results["gt_bboxes"], [[2.05, 4.1, 61.5, 41]], rtol=1e-6)
    np.testing.assert_allclose(results["homography_matrix"] @ [1, 2, 1], [2.05, 4.1, 1], rtol=1e-6)
    assert "pad_shape" not in results


def test_a_resize_stretches_unless_it_is_told_to_keep_the_ratio() -> None:
    results = Resize(scale=(20, 20), clip_object_border=False)(sample())

    assert ((20, 20), False) == (results["img_shape"], results["keep_ratio"])
    assert [[0.5, 2, 15, 50]] == results["gt_bboxes"].tolist()


def test_one_number_is_a_scale_for_both_sides() -> None:
    assert (30, 30) == Resize(scale=30)(sample())["img_shape"]


@pytest.mark.parametrize(("factor", "size"), [(0.55, (11, 22)), ((0.5, 2), (40, 20)), (2, (40, 80))])
def test_a_factor_counts_for_both_sides_or_each_for_one(factor: Any, size: tuple[int, int]) -> None:
    assert size == Resize(scale_factor=factor)(sample())["img_shape"]


@pytest.mark.parametrize(
    ("direction", "box", "corner"),
    [
        ("horizontal", [10, 2, 39, 50], (40, 0)),
        ("vertical", [1, -30, 30, 18], (0, 20)),
        ("diagonal", [10, -30, 39, 18], (40, 20)),
    ],
)
def test_a_flip_takes_everything_along(direction: str, box: list[float], corner: tuple[int, int]) -> None:
    before = sample()
    results = RandomFlip(prob=1.0, direction=direction)(dict(before))

    axes = {"horizontal": 1, "vertical": 0, "diagonal": (0, 1)}[direction]
    np.testing.assert_array_equal(results["img"], np.flip(before["img"], axes))
    np.testing.assert_array_equal(results["gt_masks"].masks[0], np.flip(before["gt_masks"].masks[0], axes))
    assert [box] == results["gt_bboxes"].tolist()
    assert [*corner, 1] == (results["homography_matrix"] @ [0, 0, 1]).tolist()
    assert (True, direction) == (results["flip"], results["flip_direction"])


def test_a_flip_that_does_not_happen_is_noted_even_if_the_sample_was_flipped_before() -> None:
    results = RandomFlip(prob=0.0)(sample(flip=True, flip_direction="vertical"))

    assert (False, None) == (results["flip"], results["flip_direction"])
    assert "homography_matrix" not in results


def test_steps_add_up_in_the_matrix() -> None:
    results = RandomFlip(prob=1.0)(Resize(scale_factor=2)(sample()))

    assert [78, 6, 1] == (results["homography_matrix"] @ [1, 3, 1]).tolist()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"size": (64, 32)}, (32, 64)),
        ({"size": (8, 32)}, (32, 40)),
        ({"size_divisor": 32}, (32, 64)),
        ({"pad_to_square": True}, (40, 40)),
    ],
)
def test_a_pad_counts_width_first_and_changes_the_shape_of_the_image(
    options: dict[str, Any], shape: tuple[int, int]
) -> None:
    results = Pad(**options)(sample())

    assert shape == results["img_shape"] == results["img"].shape[:2] == results["gt_masks"].masks.shape[1:]
    assert (*shape, 3) == results["pad_shape"]
    assert (options.get("size"), options.get("size_divisor")) == (
        results["pad_fixed_size"],
        results["pad_size_divisor"],
    )


def test_one_padding_value_means_every_channel() -> None:
    assert [7, 7, 7] == Pad(size_divisor=32, pad_val=7)(sample())["img"][-1, -1].tolist()


def test_a_gray_image_without_channels_is_padded() -> None:
    gray = sample(img=np.zeros((20, 40), dtype=np.uint8))

    assert 9 == Pad(size_divisor=32, pad_val={"img": 9})(gray)["img"][-1, -1]


def test_annotations_are_arrays_with_a_flag_for_each() -> None:
    instances = [instance([SQUARE]), instance([SQUARE], ignore_flag=1)]
    results = LoadAnnotations()({"img_path": "a.png", "instances": instances})

    assert [[1.25, 2, 3, 4]] * 2 == results["gt_bboxes"].tolist()
    assert np.float32 == results["gt_bboxes"].dtype
    assert ([False, True], [5, 5]) == (results["gt_ignore_flags"].tolist(), results["gt_bboxes_labels"].tolist())


def test_an_image_without_objects_has_arrays_of_no_rows() -> None:
    results = LoadAnnotations(with_mask=True)({"img_path": "a.png", "ori_shape": (4, 6), "instances": []})

    assert ((0, 4), (0,), (0,)) == tuple(
        results[key].shape for key in ("gt_bboxes", "gt_ignore_flags", "gt_bboxes_labels")
    )
    assert (0, 4, 6) == results["gt_masks"].masks.shape


@pytest.mark.parametrize(
    ("mask", "poly2mask", "is_flagged", "area"),
    [
        ([SQUARE], True, False, 36),
        ([SQUARE, [1, 2, 3]], True, False, 36),
        ([[1, 2, 3]], True, True, 0),
        (RUNS, True, False, 10),
        ({"counts": [1]}, True, True, 0),
        ({"size": [20, 40], "counts": 5}, True, True, 0),
        ([SQUARE], False, False, 36),
        (RUNS, False, True, 0),
    ],
)
def test_an_object_is_flagged_whose_mask_cannot_be_drawn(
    mask: Any, poly2mask: bool, is_flagged: bool, area: float
) -> None:
    given = {"img_path": "a.png", "ori_shape": (20, 40), "instances": [instance(mask)]}
    results = LoadAnnotations(with_mask=True, poly2mask=poly2mask)(given)

    assert isinstance(results["gt_masks"], BitmapMasks if poly2mask else PolygonMasks)
    assert ([is_flagged], [area]) == (results["gt_ignore_flags"].tolist(), results["gt_masks"].areas.tolist())


def test_the_flag_of_a_crowd_stays_where_masks_are_loaded() -> None:
    given = {"img_path": "a.png", "ori_shape": (20, 40), "instances": [instance([SQUARE], ignore_flag=1)]}

    assert [True] == LoadAnnotations(with_mask=True)(given)["gt_ignore_flags"].tolist()


@pytest.mark.parametrize(
    ("entry", "is_3x"),
    [
        ({"type": "Resize", "scale": (8, 8)}, False),
        ({"type": "RandomFlip", "prob": 0.5}, False),
        ({"type": "PackDetInputs"}, False),
        ({"type": "Resize", "img_scale": (8, 8)}, True),
        ({"type": "RandomFlip", "flip_ratio": 0.5}, True),
        ({"type": "LoadAnnotations", "with_seg": True}, True),
        ({"type": "LoadAnnotations", "denorm_bbox": True}, True),
    ],
)
def test_a_sample_of_the_other_dialect_is_refused(entry: dict[str, Any], is_3x: bool) -> None:
    given = sample() if is_3x else {"img_info": {"filename": "a.png"}, "img": np.zeros((4, 4, 3), dtype=np.uint8)}
    with pytest.raises(ConfigError, match=rf"^{entry['type']}") as caught:
        Compose([entry])(given)

    assert "mmdet 3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "Resize", "scale": (8, 8), "img_scale": (8, 8)}, "img_scale is mmdet 2.x's, scale and scale_factor"),
        ({"type": "Resize", "scale": (8, 8), "ratio_range": (1, 2)}, "ratio_range is mmdet 2.x's"),
        ({"type": "Resize", "scale": (8, 8), "scale_factor": 2}, r"give scale or scale_factor, not \(8, 8\) and 2"),
        ({"type": "Resize", "scale": "big"}, r"scale must be \(width, height\) in pixels, or one for both, not 'big'"),
        ({"type": "Resize", "scale_factor": 0}, "scale_factor must be a number above 0 or two, not 0"),
        ({"type": "RandomFlip", "prob": 0.5, "flip_ratio": 0.5}, "flip_ratio is mmdet 2.x's, prob is 3.x's"),
        ({"type": "RandomFlip", "prob": 2}, "prob must be a probability between 0 and 1"),
        ({"type": "RandomFlip", "prob": [0.5, 0.5]}, "prob has 2 probabilities for 1 directions"),
        ({"type": "LoadAnnotations", "box_type": "rbox"}, "box_type must be 'hbox' or None, not 'rbox'"),
        ({"type": "LoadImageFromFile", "backend_args": "s3"}, "backend_args must be a dict, not 's3'"),
    ],
)
def test_wrong_arguments_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Compose([entry])


def test_two_ways_to_read_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="file_client_args and backend_args both"):
        three.as_client_args({"backend": "aws"}, {"backend": "s3"})


@pytest.mark.parametrize(
    ("of_2x", "of_3x", "expected"),
    [
        (None, None, None),
        ({"backend": "aws"}, None, {"backend": "aws"}),
        ({"backend": "disk"}, {"backend": "s3"}, {"backend": "s3"}),
        (None, {"backend": "local"}, {"backend": "disk"}),
        (None, {}, {"backend": "disk"}),
    ],
)
def test_files_are_read_as_either_dialect_says(of_2x: Any, of_3x: Any, expected: Any) -> None:
    assert expected == three.as_client_args(of_2x, of_3x)
