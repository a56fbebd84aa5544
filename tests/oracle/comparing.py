"""Compares values with what a reference case describes: see the README of the cases for the encoding."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks

__all__ = ["check"]


def check(value: Any, want: Any, atol: float, where: str) -> None:
    """Raise an AssertionError that names the place unless `value` is what the case describes."""
    if isinstance(want, dict) and "__type__" in want:
        {
            "ndarray": check_array,
            "tensor": check_tensor,
            "scalar": check_scalar,
            "DataContainer": check_container,
            "BitmapMasks": check_bitmaps,
            "PolygonMasks": check_polygons,
            "HorizontalBoxes": check_boxes,
            "DetDataSample": check_data_sample,
        }[want["__type__"]](value, want, atol, where)
    elif isinstance(want, dict):
        assert list(want) == list(value), where
        for key in want:
            check(value[key], want[key], atol, f"{where}.{key}")
    elif isinstance(want, list | tuple):
        assert type(want) is type(value), where
        assert len(want) == len(value), where
        for i, (item, wanted) in enumerate(zip(value, want, strict=True)):
            check(item, wanted, atol, f"{where}[{i}]")
    else:
        assert (type(want), want) == (type(value), value), where


def check_array(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    assert isinstance(value, np.ndarray), where
    assert (want["dtype"], want["shape"]) == (str(value.dtype), list(value.shape)), where
    if hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest() == want["sha256"]:
        return
    assert atol > 0, f"{where} differs"
    assert want["mean"] == pytest.approx(value.mean(dtype=np.float64), abs=atol), where
    for position, wanted in want["probes"]:
        place: list[Any] = list(position)
        if want["channel_axis"] is not None:
            place.insert(want["channel_axis"], slice(None))
        np.testing.assert_allclose(value[tuple(place)], wanted, rtol=0, atol=atol, err_msg=where)


def check_tensor(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    assert isinstance(value, torch.Tensor), where
    assert value.is_contiguous(), where
    check_array(value.numpy(), want, atol, where)


def check_scalar(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    assert (want["dtype"], want["value"]) == (str(np.asarray(value).dtype), value), where


def check_container(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    assert isinstance(value, DataContainer), where
    notes = ("stack", "cpu_only", "padding_value", "pad_dims")
    assert [want[note] for note in notes] == [getattr(value, note) for note in notes], where
    check(value.data, want["data"], atol, f"{where}.data")


def check_boxes(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    """Boxes are arrays in a pipeline and tensors behind it, where mmdet has a class of its own."""
    check_array(value if isinstance(value, np.ndarray) else value.numpy(), want["tensor"], atol, where)


def check_bitmaps(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    assert isinstance(value, BitmapMasks), where
    assert (want["height"], want["width"], want["areas"]) == (value.height, value.width, value.areas.tolist()), where
    check_array(value.masks, want["masks"], 0, where)


def check_polygons(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    assert isinstance(value, PolygonMasks), where
    assert (want["height"], want["width"]) == (value.height, value.width), where
    check([[part.tolist() for part in parts] for parts in value.masks], want["masks"], 0, where)


def check_data_sample(value: Any, want: dict[str, Any], atol: float, where: str) -> None:
    # The order of keys means nothing here.
    check_by_name(value.metainfo, want["metainfo"], f"{where}.metainfo")
    for name in ("gt_instances", "ignored_instances"):
        check_by_name(dict(getattr(value, name).items()), want[name], f"{where}.{name}")


def check_by_name(value: dict[str, Any], want: dict[str, Any], where: str) -> None:
    assert set(want) == set(value), where
    for name, wanted in want.items():
        check(value[name], wanted, 0, f"{where}.{name}")
