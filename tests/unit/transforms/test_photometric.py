from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.photometric import Normalize

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def normalize(image: np.ndarray, **arguments: Any) -> Any:
    return Normalize(**{"mean": MEAN, "std": STD, **arguments})({"img": image, "img_fields": ["img"]})


@pytest.mark.parametrize("to_rgb", [True, False])
def test_pixels_lose_the_mean_and_are_divided_by_the_deviation(to_rgb: bool) -> None:
    ordered = IMAGE[:, :, ::-1] if to_rgb else IMAGE
    img = normalize(IMAGE, to_rgb=to_rgb)["img"]

    assert np.float32 == img.dtype
    np.testing.assert_allclose(img, (ordered - np.array(MEAN)) / np.array(STD), atol=1e-6)


@pytest.mark.parametrize("to_rgb", [True, False])
def test_whole_numbers_and_floats_give_the_very_same_values(to_rgb: bool) -> None:
    from_floats = normalize(IMAGE.astype(np.float32), to_rgb=to_rgb)["img"]

    np.testing.assert_array_equal(normalize(IMAGE, to_rgb=to_rgb)["img"], from_floats)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_image_before_stays_as_it_was(dtype: type) -> None:
    before = IMAGE.astype(dtype)
    normalize(before)

    np.testing.assert_array_equal(before, IMAGE)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_a_gray_image_takes_one_mean(shape: tuple[int, ...]) -> None:
    img = normalize(IMAGE[:, :, 0].reshape(shape), mean=[10], std=[2], to_rgb=False)["img"]

    np.testing.assert_array_equal(img, (IMAGE[:, :, 0].reshape(shape).astype(np.float32) - 10) / 2)


def test_it_writes_down_what_it_did() -> None:
    config = normalize(IMAGE)["img_norm_cfg"]

    assert ["mean", "std", "to_rgb"] == list(config)
    assert (np.float32, np.float32, True) == (config["mean"].dtype, config["std"].dtype, config["to_rgb"])


def test_an_image_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="an image of 1 channels, but mean and std have 3"):
        normalize(IMAGE[:, :, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": 5}, "mean must be one to four numbers"),
        ({"std": ["a", "b", "c"]}, "std must be one to four numbers"),
        ({"std": [1, 1]}, "mean and std must be of one length, not 3 and 2"),
        ({"std": [1, 0, 1]}, "std must not be 0"),
        ({"mean": [1], "std": [1]}, "to_rgb needs three channels, but mean and std have 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Normalize(**{"mean": MEAN, "std": STD, **arguments})


def test_its_repr_shows_its_arguments() -> None:
    assert "Normalize(mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0], to_rgb=True)" == repr(Normalize([1, 2, 3], [1, 1, 1]))
