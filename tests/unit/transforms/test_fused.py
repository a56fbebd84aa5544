from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError, TransformError
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.base import FUSE
from asyncio_loader.transforms.fused import Fused
from asyncio_loader.transforms.geometric import Pad, RandomFlip
from asyncio_loader.transforms.photometric import Normalize

FLIP = {"type": "RandomFlip", "flip_ratio": 0.5}
NORMALIZE = {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6]}
PAD = {"type": "Pad", "size_divisor": 32}
BUNDLE = {"type": "DefaultFormatBundle"}
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def names(pipeline: Compose) -> list[Any]:
    return [
        [type(each).__name__ for each in stage.transforms] if isinstance(stage, Fused) else type(stage).__name__
        for stage in pipeline.stages
    ]


@pytest.fixture(autouse=True)
def _no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FUSE, raising=False)


def sample(**fields: Any) -> dict[str, Any]:
    return {"img": IMAGE, "img_fields": ["img"], "img_shape": IMAGE.shape, "flip": True, **fields}


@pytest.mark.parametrize(
    ("entries", "stages"),
    [
        ([FLIP, NORMALIZE, PAD, BUNDLE], [["RandomFlip", "Normalize", "Pad", "DefaultFormatBundle"]]),
        ([NORMALIZE, PAD, BUNDLE, BUNDLE], [["Normalize", "Pad", "DefaultFormatBundle"], "DefaultFormatBundle"]),
        ([FLIP, PAD, BUNDLE], ["RandomFlip", "Pad", "DefaultFormatBundle"]),
        ([FLIP, NORMALIZE], [["RandomFlip", "Normalize"]]),
        ([NORMALIZE, PAD], [["Normalize", "Pad"]]),
        ([FLIP, PAD], ["RandomFlip", "Pad"]),
        ([NORMALIZE, BUNDLE], [["Normalize", "DefaultFormatBundle"]]),
        ([PAD, NORMALIZE, FLIP], ["Pad", "Normalize", "RandomFlip"]),
        ([FLIP, FLIP, NORMALIZE], ["RandomFlip", ["RandomFlip", "Normalize"]]),
        ([NORMALIZE, {**PAD, "pad_val": {"img": np.zeros(3)}}], ["Normalize", "Pad"]),
        ([NORMALIZE, {"type": "Pad", "size": (64.0, 64)}], ["Normalize", "Pad"]),
    ],
)
def test_neighbours_in_this_order_are_fused(entries: list[Any], stages: list[Any]) -> None:
    assert stages == names(Compose(entries))


def test_a_subclass_is_left_alone() -> None:
    class Other(Normalize):
        pass

    assert ["RandomFlip", "Other", "Pad"] == names(Compose([FLIP, Other([1, 2, 3], [4, 5, 6]), PAD]))


def test_the_argument_switches_it_off() -> None:
    assert ["Normalize", "Pad"] == names(Compose([NORMALIZE, PAD], fuse=False))


def test_the_environment_switches_it_off_unless_the_argument_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FUSE, "0")

    assert ["Normalize", "Pad"] == names(Compose([NORMALIZE, PAD]))
    assert [["Normalize", "Pad"]] == names(Compose([NORMALIZE, PAD], fuse=True))


def test_a_switch_of_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="fuse must be True, False or None, not 'no'"):
        Compose([], fuse="no")  # type: ignore[arg-type]
    monkeypatch.setenv(FUSE, "maybe")
    with pytest.raises(ConfigError, match="ASYNCIO_LOADER_FUSE must be 0 or 1, not 'maybe'"):
        Compose([])


def test_the_repr_shows_it() -> None:
    pipeline = Compose([NORMALIZE, PAD])
    inner = "".join(f"        {transform!r}\n" for transform in pipeline.transforms)

    assert f"Compose(\n    Fused(\n{inner}    )\n)" == repr(pipeline)


def test_a_changed_list_is_looked_at_anew() -> None:
    pipeline = Compose([FLIP, NORMALIZE, PAD])
    del pipeline.transforms[0]
    assert [["Normalize", "Pad"]] == names(pipeline)
    pipeline.transforms[1] = Pad(size_divisor=64)
    assert (3, 64, 64) == pipeline(sample())["img"].transpose(2, 0, 1).shape


def test_it_crosses_processes() -> None:
    pipeline = pickle.loads(pickle.dumps(Compose([NORMALIZE, PAD])))

    assert [["Normalize", "Pad"]] == names(pipeline)
    assert pipeline.transforms[0] is pipeline.stages[0].transforms[0]


def test_the_tensor_is_the_memory_that_was_written() -> None:
    written = []
    outcome = Compose([NORMALIZE, PAD, lambda results: written.append(results["img"]) or results, BUNDLE])(sample())

    assert written[0].ctypes.data == outcome["img"].data.data_ptr()
    assert (3, 64, 64) == outcome["img"].data.shape


@pytest.mark.parametrize(
    "image", [IMAGE.astype(np.float32), IMAGE[:, :, 0], IMAGE[:0], IMAGE.view(type("Mine", (np.ndarray,), {}))]
)
def test_another_image_takes_the_plain_way(image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Fused, "_run_fused", refuse)
    channels = {"mean": [1], "std": [2], "to_rgb": False} if image.ndim == 2 else {}
    pipeline = Compose([{**NORMALIZE, **channels}, PAD])
    plain = Compose(pipeline.transforms, fuse=False)

    if image.size:
        np.testing.assert_array_equal(plain(sample(img=image))["img"], pipeline(sample(img=image))["img"])
    else:
        with pytest.raises(TransformError, match="Normalize failed"):
            pipeline(sample(img=image))


def test_errors_name_the_transform_and_leave_the_fields_alone() -> None:
    results = sample(flip_direction="horizontal", mask_fields=["gt_masks"], filename="a.jpg")
    with pytest.raises(TransformError, match=r"^a\.jpg: RandomFlip failed: KeyError: gt_masks$") as caught:
        Compose([FLIP, NORMALIZE, PAD])(results)

    assert ("a.jpg", "RandomFlip") == (caught.value.key, caught.value.transform)
    assert ["img"] == results["img_fields"]


def test_without_a_normalize_there_is_nothing_to_fuse() -> None:
    with pytest.raises(TypeError, match="no Normalize"):
        Fused([RandomFlip(0.5), Pad(size_divisor=32)])


def test_threads_may_share_it() -> None:
    pipeline = Compose([FLIP, NORMALIZE, PAD])
    images = [np.full((40, 50, 3), value, np.uint8) for value in range(64)]
    wanted = [
        Compose(pipeline.transforms, fuse=False)(sample(img=image, flip_direction="vertical")) for image in images
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda image: pipeline(sample(img=image, flip_direction="vertical")), images))
    finally:
        sys.setswitchinterval(interval)

    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(one["img"], other["img"])


def test_a_sample_of_3x_goes_through_the_plain_transforms() -> None:
    pipeline = [NORMALIZE, PAD]
    given = {"img_path": "a.png", "img": IMAGE, "img_shape": IMAGE.shape[:2]}
    fused, plain = (Compose(pipeline, fuse=fuse)(dict(given)) for fuse in (True, False))

    assert ((64, 64), (64, 64, 3)) == (fused["img_shape"], fused["pad_shape"])
    assert {**plain, "img": None, "img_norm_cfg": None} == {**fused, "img": None, "img_norm_cfg": None}
    np.testing.assert_array_equal(plain["img"], fused["img"])
