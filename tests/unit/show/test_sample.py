from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.errors import ConfigError
from asyncio_loader.show.sample import read_sample

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NORM = {"mean": np.array(MEAN, np.float32), "std": np.array(STD, np.float32), "to_rgb": True}


def image(height: int = 6, width: int = 8) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """RGB."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tensor(pixels: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.asarray(pixels, np.float32).transpose(2, 0, 1)))


def test_normalization_is_undone_to_the_last_bit() -> None:
    rgb = image()
    normalized = (rgb.astype(np.float32) - NORM["mean"]) / NORM["std"]

    assert np.array_equal(read_sample(tensor(normalized), {"img_norm_cfg": NORM}, []).pixels, rgb)


def test_lists_in_the_config_will_do_and_blue_may_come_first() -> None:
    bgr = image()
    norm = {"mean": MEAN, "std": STD, "to_rgb": False}
    normalized = (bgr.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)

    assert np.array_equal(read_sample(tensor(normalized), {"img_norm_cfg": norm}, []).pixels, bgr[:, :, ::-1])


def test_what_was_not_normalized_is_shown_as_it_is() -> None:
    bgr = image()

    for norm in (None, {"mean": np.zeros(3), "std": np.ones(3), "to_rgb": False}):
        assert np.array_equal(read_sample(tensor(bgr), {"img_norm_cfg": norm}, []).pixels, bgr[:, :, ::-1])
    assert "no img_norm_cfg" in read_sample(tensor(bgr), {}, []).notes


def test_bytes_are_shown_as_they_are_without_a_word() -> None:
    bgr = image()
    sample = read_sample(torch.from_numpy(bgr.transpose(2, 0, 1).copy()), {}, [])

    assert np.array_equal(sample.pixels, bgr[:, :, ::-1])
    assert sample.notes == "8x6"


def test_values_that_are_no_colours_are_cut() -> None:
    pixels = torch.tensor([float("nan"), -5.0, 300.0]).reshape(3, 1, 1)

    assert read_sample(pixels, {}, []).pixels.tolist() == [[[255, 0, 0]]]


def test_one_channel_is_gray() -> None:
    assert read_sample(torch.full((1, 2, 2), 7.0), {}, []).pixels.tolist() == [[[7, 7, 7]] * 2] * 2


def test_other_channels_are_an_error_with_the_key() -> None:
    with pytest.raises(ConfigError, match=r"s3://b/a\.tif: the pipeline makes an image of 4 channels"):
        read_sample(torch.zeros(4, 2, 2), {"filename": "s3://b/a.tif"}, [])


def test_labels_are_told_by_name() -> None:
    target = {"boxes": torch.tensor([[0.0, 1, 2, 3]] * 3), "labels": torch.tensor([1, 2, 9])}

    sample = read_sample(tensor(image()), target, ["RBC", "WBC"])

    assert list(sample.names) == ["RBC", "WBC", "label 8"]
    assert sample.boxes is not None
    assert sample.boxes.tolist() == [[0, 1, 2, 3]] * 3


def test_boxes_may_have_no_labels_and_there_may_be_none() -> None:
    without = read_sample(tensor(image()), {"boxes": torch.zeros(2, 4)}, ["RBC"])
    empty = read_sample(tensor(image()), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}, ["RBC"])

    assert list(without.names) == ["no label"] * 2
    assert empty.boxes is not None
    assert (len(empty.boxes), list(empty.names)) == (0, [])


def test_a_test_pipeline_has_no_boxes() -> None:
    sample = read_sample(tensor(image()), {}, ["RBC"])

    assert sample.boxes is None
    assert (list(sample.names), len(sample.ignored), sample.masks) == ([], 0, None)


def test_what_is_not_image_is_padding() -> None:
    target = {
        "ori_filename": "a.jpg",
        "filename": "s3://b/a.jpg",
        "ori_shape": (12, 16, 3),
        "img_shape": (5, 7, 3),
        "flip": True,
        "flip_direction": "horizontal",
        "img_norm_cfg": NORM,
    }

    sample = read_sample(tensor(image()), target, [])

    assert sample.key == "a.jpg"
    assert sample.content == (5, 7)
    assert sample.notes == "16x12 to 7x5, flipped, padded to 8x6"


def test_an_image_that_stays_as_it_is() -> None:
    target = {"ori_shape": (6, 8), "img_shape": (6, 8), "flip": False, "img_norm_cfg": NORM}

    assert read_sample(tensor(image()), target, []).notes == "8x6"
