from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.model import pad_images
from asyncio_loader.training.preprocess import ImagePreprocessor, build_preprocessor, check_normalized_once
from asyncio_loader.training.sections import Section
from asyncio_loader.transforms import Compose

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NORMALIZING = {"type": "DetDataPreprocessor", "mean": MEAN, "std": STD, "bgr_to_rgb": True, "pad_size_divisor": 32}
FORMATTING = [{"type": "DefaultFormatBundle"}, {"type": "Collect", "keys": ["img"], "meta_keys": []}]


def build(**values: Any) -> ImagePreprocessor:
    return build_preprocessor(Section({"type": "DetDataPreprocessor", **values}, "model.data_preprocessor"))


def image(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def test_it_is_what_normalize_and_pad_make() -> None:
    pixels = image(50, 70)
    steps = [{"type": "Normalize", "mean": MEAN, "std": STD, "to_rgb": True}, {"type": "Pad", "size_divisor": 32}]
    by_pipeline = Compose([*steps, *FORMATTING])({"img": pixels.copy(), "img_fields": ["img"]})
    assert by_pipeline is not None
    batch = build(**NORMALIZING).stack([as_tensor(pixels)])

    assert batch.dtype == torch.float32
    # Normalize multiplies by the inverse in double precision: that is the last bits of float32.
    torch.testing.assert_close(batch[0], by_pipeline["img"].data, rtol=0, atol=1e-6)


def test_a_batch_is_as_large_as_its_largest_and_divisible() -> None:
    batch = build(pad_size_divisor=32, pad_value=7).stack([as_tensor(image(20, 70)), as_tensor(image(50, 33))])

    assert batch.shape == (2, 3, 64, 96)
    assert torch.equal(batch[0, :, :20, :70], as_tensor(image(20, 70)).float())
    assert (batch[0, :, 20:] == 7).all()
    assert (batch[1, :, :, 33:] == 7).all()


def test_it_takes_batches_as_mmengine_gives_them_and_keeps_what_is_no_image() -> None:
    pixels = as_tensor(image(8, 8))
    images, targets = build(bgr_to_rgb=True)(([pixels], [{"filename": "a.jpg", "boxes": torch.ones(1, 4)}]), True)

    assert torch.equal(images, pixels[[2, 1, 0]].float()[None])
    assert targets[0]["filename"] == "a.jpg"


def test_nothing_of_it_is_in_a_checkpoint() -> None:
    assert build(**NORMALIZING).state_dict() == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": MEAN}, r"data_preprocessor\.mean=.* needs the other one"),
        ({"std": STD}, r"data_preprocessor\.std=.* needs the other one"),
        ({"mean": [1, 2], "std": STD}, r"data_preprocessor\.mean=\[1, 2\] must be a list of 3 numbers"),
        ({"mean": MEAN, "std": [1, 0, 1]}, r"data_preprocessor\.std=\[1, 0, 1\] must not be 0"),
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, "cancel each other"),
        ({"pad_size_divisor": 0}, r"pad_size_divisor=0 must be a whole number of at least 1"),
        ({"batch_augments": [{}]}, r"batch_augments=\[\{\}\] must be None: batches stay as the data set makes them"),
        ({"batch_augments": [1]}, "batch_augments"),
        ({"maen": MEAN}, "there is no such key; did you mean 'mean'"),
        ({"type": "ImgDataPreprocessor"}, "type='ImgDataPreprocessor' must be"),
    ],
)
def test_what_cannot_be_had_is_said(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**values)


def config(pipeline: list[Any], split: str = "train") -> dict[str, Any]:
    return {"data": {"train": {"pipeline": []}, split: {"pipeline": pipeline}}}


NORMALIZE = {"type": "Normalize", "mean": MEAN, "std": STD}


@pytest.mark.parametrize(
    ("pipeline", "split"),
    [([NORMALIZE], "train"), ([{"type": "MultiScaleFlipAug", "transforms": [{"type": "Pad"}, NORMALIZE]}], "val")],
)
def test_images_are_normalized_once(pipeline: list[Any], split: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{split}\.pipeline has a Normalize, and model\.data_preprocessor"):
        check_normalized_once(config(pipeline, split), build(**NORMALIZING))

    check_normalized_once(config(pipeline, split), build(pad_size_divisor=32))
    check_normalized_once(config([{"type": "Pad"}], split), build(**NORMALIZING))
    check_normalized_once(config(pipeline, split), None)


def test_images_of_3x_are_normalized_once() -> None:
    values = {"train_dataloader": {"dataset": {"pipeline": [NORMALIZE]}}}

    with pytest.raises(ConfigError, match=r"^train_dataloader\.dataset\.pipeline has a Normalize"):
        check_normalized_once(values, build(**NORMALIZING))
    check_normalized_once(values, build(pad_size_divisor=32))


def test_masks_of_no_model_are_padded_as_they_like() -> None:
    assert build(pad_mask=True, mask_pad_value=1).stack([as_tensor(image(3, 4))]).shape == (1, 3, 3, 4)


def test_the_model_takes_the_batch_as_it_is_and_clips_to_what_is_image() -> None:
    batch = build(pad_size_divisor=32).stack([as_tensor(image(20, 70)), as_tensor(image(50, 33))])
    padded = pad_images(batch, [{"img_shape": (20, 70, 3)}, {"img_shape": (50, 33, 3)}])

    assert padded.tensors is batch
    assert padded.image_sizes == [(20, 70), (50, 33)]
