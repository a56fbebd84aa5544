"""Whatever the pipeline and the image: fused and one by one, the very same sample or the very same error."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.errors import LoaderError
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.base import FUSE
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.fused import Fused
from asyncio_loader.transforms.late import leaving_images
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks


@pytest.fixture(autouse=True, scope="module")
def every_image_has_memory_of_the_pool() -> Iterator[None]:
    """Small ones, too: each stage writes to memory that another's image had before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncio_loader.transforms.arrays._SMALL_BYTES", 0)
        yield


EXAMPLES = settings(max_examples=int(os.environ.get("ASYNCIO_LOADER_FUSED_EXAMPLES", "400")), deadline=None)

DIRECTIONS = st.sampled_from(["horizontal", "vertical", "diagonal"])
FLIPS = st.one_of(
    st.fixed_dictionaries({"type": st.just("RandomFlip"), "flip_ratio": st.floats(0, 1), "direction": DIRECTIONS}),
    st.just({"type": "RandomFlip", "flip_ratio": [0.3, 0.3, 0.3], "direction": ["horizontal", "vertical", "diagonal"]}),
    # Left to what the sample says, which may be nothing.
    st.just({"type": "RandomFlip"}),
)
CHANNELS = st.lists(st.floats(-50, 300, width=32), min_size=3, max_size=3)
DEVIATIONS = st.lists(st.floats(0.125, 300, width=32), min_size=3, max_size=3)
NORMALIZATIONS = st.fixed_dictionaries(
    {"type": st.just("Normalize"), "mean": CHANNELS, "std": DEVIATIONS, "to_rgb": st.booleans()}
)
FILLS = st.one_of(
    st.integers(-5, 255), st.floats(-300, 300), st.lists(st.floats(-300, 300), max_size=4), st.just((1, 2, 3))
)
SIZES = st.one_of(
    st.fixed_dictionaries({"size_divisor": st.integers(1, 64)}),
    st.fixed_dictionaries({"size": st.tuples(st.integers(1, 90), st.integers(1, 90))}),
    st.just({"pad_to_square": True}),
)
PADS = st.builds(
    lambda size, fill: {"type": "Pad", **size, "pad_val": {"img": fill, "masks": 0, "seg": 255}}, SIZES, FILLS
)
RESIZES = st.builds(
    lambda scale, keep: {"type": "Resize", "img_scale": scale, "keep_ratio": keep},
    st.tuples(st.integers(8, 80), st.integers(8, 80)),
    st.booleans(),
)
BUNDLES = st.sampled_from([{"type": "DefaultFormatBundle"}, {"type": "ImageToTensor", "keys": ["img"]}])


def darken(results: dict[str, Any]) -> dict[str, Any]:
    """A user's own transform."""
    results["img"] = results["img"] // 2
    return results


def pipelines() -> st.SearchStrategy[list[Any]]:
    """Mostly the usual order with something left out; sometimes any order, with some of it twice."""
    parts = (RESIZES, FLIPS, st.just(darken), NORMALIZATIONS, PADS, BUNDLES)
    # Twice as likely to be there as not; the user's own the other way round.
    chances = [part | part | st.none() if at != 2 else st.none() | st.none() | part for at, part in enumerate(parts)]
    usual = st.tuples(*chances).map(lambda entries: [entry for entry in entries if entry is not None])
    whole = st.tuples(RESIZES, FLIPS, NORMALIZATIONS, PADS, BUNDLES).map(list)
    mixed = st.lists(st.one_of(FLIPS, NORMALIZATIONS, PADS), min_size=2, max_size=4)
    return st.one_of(whole, usual, mixed)


@st.composite
def samples(draw: st.DrawFn) -> dict[str, Any]:
    """A sample as it is after loading: mostly usual ones, with all sorts of fields and some odd images."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    channels = draw(st.sampled_from([(3,), (3,), (3,), (3,), (1,), (4,), ()]))
    image = rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)
    kind = draw(st.sampled_from(["plain", "plain", "plain", "float", "view", "read-only"]))
    if kind == "float":
        image = image.astype(np.float32)
    elif kind == "view":
        image = image[::-1, ::-1]
    image.flags.writeable = kind != "read-only"
    sample: dict[str, Any] = {"img": image, "img_shape": image.shape, "ori_shape": image.shape, "bbox_fields": []}
    if draw(st.booleans()):
        sample["img_fields"] = ["img"]
    if draw(st.booleans()):
        sample["gt_bboxes"] = rng.uniform(0, 60, (draw(st.integers(0, 4)), 4)).astype(np.float32)
        sample["bbox_fields"].append("gt_bboxes")
    if draw(st.booleans()):
        sample["gt_semantic_seg"] = rng.integers(0, 9, (height, width), dtype=np.uint8)
        sample["seg_fields"] = ["gt_semantic_seg"]
    masks = draw(st.sampled_from([None, None, BitmapMasks, PolygonMasks]))
    if masks is not None:
        corners = [[np.array([0, 0, width, 0, width, height], dtype=np.float64)]]
        drawn = [rng.integers(0, 2, (height, width), dtype=np.uint8)]
        sample["gt_masks"] = masks(drawn if masks is BitmapMasks else corners, height, width)
        sample["mask_fields"] = ["gt_masks"]
    if draw(st.integers(0, 3)) == 0:
        sample["flip"] = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        sample["flip_direction"] = draw(st.none() | DIRECTIONS | st.just("sideways"))
    sample["rng"] = np.random.default_rng(draw(st.integers(0, 2**32)))
    return sample


def outcome_of(pipeline: Compose, sample: dict[str, Any]) -> Any:
    try:
        return pipeline(copy.deepcopy(sample))
    except (LoaderError, cv2.error) as error:
        return error


def check_same(plain: Any, fused: Any, where: str) -> None:
    """Raise an AssertionError that names the place unless type, values to the last bit and order of keys are one."""
    assert type(plain) is type(fused), f"{where}: {plain!r:.200} and {fused!r:.200}"
    if isinstance(plain, dict):
        assert list(plain) == list(fused), where
        for key in plain:
            check_same(plain[key], fused[key], f"{where}.{key}")
    elif isinstance(plain, list | tuple):
        assert len(plain) == len(fused), where
        for place, (one, other) in enumerate(zip(plain, fused, strict=True)):
            check_same(one, other, f"{where}[{place}]")
    elif isinstance(plain, np.ndarray):
        assert (plain.dtype, plain.shape) == (fused.dtype, fused.shape), where
        assert plain.tobytes() == fused.tobytes(), where
    elif isinstance(plain, torch.Tensor):
        assert plain.is_contiguous() == fused.is_contiguous(), where
        check_same(plain.numpy(), fused.numpy(), where)
    elif isinstance(plain, DataContainer | BitmapMasks | PolygonMasks):
        fields = [name for kind in type(plain).__mro__ for name in getattr(kind, "__slots__", ())]
        check_same(*({n: getattr(x, n) for n in [*fields, *getattr(x, "__dict__", ())]} for x in (plain, fused)), where)
    elif isinstance(plain, Exception):
        assert str(plain) == str(fused), where
    else:
        assert plain == fused, where


@EXAMPLES
@given(entries=pipelines(), sample=samples())
def test_fused_and_one_by_one_are_the_same(entries: list[Any], sample: dict[str, Any]) -> None:
    before = copy.deepcopy(sample)
    plain = outcome_of(Compose(entries, fuse=False), sample)
    fused = outcome_of(Compose(entries, fuse=True), sample)

    check_same(plain, fused, "sample")
    check_same(before["img"], sample["img"], "img before")


@EXAMPLES
@given(entries=pipelines(), sample=samples(), margins=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_an_image_that_is_written_later_is_the_same(
    entries: list[Any], sample: dict[str, Any], margins: tuple[int, int]
) -> None:
    plain = outcome_of(Compose(entries, fuse=False), sample)
    with leaving_images():
        late = outcome_of(Compose(entries, fuse=True), sample)
    container = late.get("img") if isinstance(late, dict) else None
    if isinstance(container, DataContainer) and (image := container.late) is not None:
        # As in a batch: where another image was, and larger ones are.
        channels, height, width = image.shape
        stack = np.full((channels, height + margins[0], width + margins[1]), 77, image.dtype)
        image.write(stack[:, :height, :width])
        assert (stack[:, height:] == 77).all()
        assert (stack[:, :, width:] == 77).all()
        np.testing.assert_array_equal(plain["img"].data.numpy(), stack[:, :height, :width])
        stack[...] = 77
        _ = container.data

    check_same(plain, late, "sample")


def test_most_of_the_usual_samples_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else the property above would say little."""
    counts = {"taken": 0, "all": 0}
    real = Fused._takes

    def count(self: Fused, results: dict[str, Any]) -> bool:
        is_taken = real(self, results)
        counts["taken"] += is_taken
        counts["all"] += 1
        return is_taken

    monkeypatch.setattr(Fused, "_takes", count)
    monkeypatch.delenv(FUSE, raising=False)

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(entries=pipelines(), sample=samples())
    def run(entries: list[Any], sample: dict[str, Any]) -> None:
        outcome_of(Compose(entries), sample)

    run()
    assert counts["all"] > 30
    assert counts["taken"] > 0.25 * counts["all"]
