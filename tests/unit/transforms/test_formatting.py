from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.transforms.formatting import (
    Collect,
    DataContainer,
    DefaultFormatBundle,
    ImageToTensor,
    to_chw_tensor,
    to_tensor,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_channels_come_first(dtype: type, channels: int) -> None:
    image = np.arange(5 * 7 * channels).reshape(5, 7, channels).astype(dtype)
    tensor = to_chw_tensor(image)

    np.testing.assert_array_equal(tensor.numpy(), image.transpose(2, 0, 1))
    assert tensor.is_contiguous()
    assert dtype == tensor.numpy().dtype


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:, ::-1], IMAGE[:, :, 0], IMAGE[1:3, 2:4]])
def test_a_view_is_taken_apart_into_memory_of_its_own(image: np.ndarray) -> None:
    expected = np.array(image if image.ndim == 3 else image[:, :, None]).transpose(2, 0, 1)
    tensor = to_chw_tensor(image)

    np.testing.assert_array_equal(tensor.numpy(), expected)
    assert not np.shares_memory(tensor.numpy(), image)


def test_an_image_that_lies_plane_by_plane_is_not_copied() -> None:
    planar = np.ascontiguousarray(IMAGE.transpose(2, 0, 1)).transpose(1, 2, 0)
    tensor = to_chw_tensor(planar)

    np.testing.assert_array_equal(tensor.numpy(), IMAGE.transpose(2, 0, 1))
    assert np.shares_memory(tensor.numpy(), planar)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1, 2]), torch.tensor([1, 2])),
        ([1.5, 2.5], torch.tensor([1.5, 2.5])),
        (3, torch.tensor(3)),
        (torch.tensor([4]), torch.tensor([4])),
    ],
)
def test_arrays_sequences_and_numbers_become_tensors(value: Any, expected: torch.Tensor) -> None:
    assert torch.equal(expected, to_tensor(value))


def test_memory_that_may_not_be_written_to_is_copied() -> None:
    array = np.zeros(3)
    array.flags.writeable = False

    assert torch.equal(torch.zeros(3, dtype=torch.float64), to_tensor(array))


@pytest.mark.parametrize("value", ["text", None, {}])
def test_nothing_else_becomes_a_tensor(value: object) -> None:
    with pytest.raises(TypeError, match="cannot make a tensor of a"):
        to_tensor(value)


def test_a_container_keeps_its_notes() -> None:
    container = pickle.loads(pickle.dumps(DataContainer(torch.zeros(2, 3), stack=True, padding_value=7, pad_dims=1)))

    notes = (container.stack, container.padding_value, container.cpu_only, container.pad_dims)
    assert (True, 7, False, 1) == notes
    assert (2, torch.Size([2, 3]), 3, 2) == (container.dim(), container.size(), container.size(-1), len(container))
    assert "torch.FloatTensor" == container.datatype
    assert "DataContainer(5)" == repr(DataContainer(5))
    assert int is DataContainer(5).datatype


def test_a_container_pads_one_to_three_dimensions() -> None:
    with pytest.raises(ValueError, match="pad_dims must be None, 1, 2 or 3, not 4"):
        DataContainer(1, pad_dims=4)


def test_image_to_tensor_keeps_the_dtype() -> None:
    results = ImageToTensor(keys=["img"])({"img": IMAGE})

    np.testing.assert_array_equal(results["img"].numpy(), IMAGE.transpose(2, 0, 1))


@pytest.mark.parametrize(("img_to_float", "dtype"), [(True, torch.float32), (False, torch.uint8)])
def test_the_bundle_stacks_the_image(img_to_float: bool, dtype: torch.dtype) -> None:
    results = DefaultFormatBundle(img_to_float=img_to_float, pad_val={"img": 114})({"img": IMAGE})
    container = results["img"]

    assert (True, 114, False) == (container.stack, container.padding_value, container.cpu_only)
    assert dtype == container.data.dtype
    np.testing.assert_array_equal(container.data.numpy(), IMAGE.transpose(2, 0, 1))


def test_the_bundle_keeps_masks_on_the_host_and_stacks_the_semantic_map() -> None:
    masks, semantic = object(), np.zeros((5, 7), np.uint8)
    results = DefaultFormatBundle()({"gt_masks": masks, "gt_semantic_seg": semantic, "gt_labels": np.array([1])})

    assert (masks, True) == (results["gt_masks"].data, results["gt_masks"].cpu_only)
    assert (True, 255) == (results["gt_semantic_seg"].stack, results["gt_semantic_seg"].padding_value)
    assert (1, 5, 7) == tuple(results["gt_semantic_seg"].data.shape)
    assert (False, [1]) == (results["gt_labels"].stack, results["gt_labels"].data.tolist())


def test_the_bundle_sets_metas_that_are_missing() -> None:
    results = DefaultFormatBundle()({"img": IMAGE, "scale_factor": 2.0})

    assert ((5, 7, 3), 2.0) == (results["pad_shape"], results["scale_factor"])
    config = results["img_norm_cfg"]
    assert ([0, 0, 0], [1, 1, 1], False) == (config["mean"].tolist(), config["std"].tolist(), config["to_rgb"])


def test_collect_puts_the_metas_first_and_drops_the_rest() -> None:
    sample = {"img": 1, "gt_labels": 2, "flip": False, "scale": 3}
    results = Collect(keys=["gt_labels", "img"], meta_keys=("flip",))(sample)

    assert ["img_metas", "gt_labels", "img"] == list(results)
    assert ({"flip": False}, True) == (results["img_metas"].data, results["img_metas"].cpu_only)


@pytest.mark.parametrize("missing", ["img", "flip"])
def test_collect_names_what_is_missing(missing: str) -> None:
    sample = {"img": 1, "flip": False}
    del sample[missing]
    with pytest.raises(KeyError, match=f"no '{missing}' in the sample, only "):
        Collect(keys=["img"], meta_keys=("flip",))(sample)


def test_pinning_copies_the_tensors_of_a_container_and_keeps_its_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no page-locked memory without a GPU.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 100)
    stacked = DataContainer([torch.zeros(2, 3, 4, 5)], stack=True, padding_value=7, pad_dims=3).pin_memory()
    lists = DataContainer([[torch.zeros(2), "a name"], [torch.ones(3)]]).pin_memory()
    host = DataContainer([torch.zeros(2)], cpu_only=True).pin_memory()

    assert (stacked.data[0] == 100).all()
    assert (stacked.stack, stacked.padding_value, stacked.cpu_only, stacked.pad_dims) == (True, 7, False, 3)
    assert [lists.data[0][0].tolist(), lists.data[0][1], lists.data[1][0].tolist()] == [[100] * 2, "a name", [101] * 3]
    assert (host.data[0].tolist(), host.cpu_only) == ([0, 0], True)
