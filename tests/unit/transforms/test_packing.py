from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from mmengine.structures import InstanceData as MmengineInstances

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks
from asyncio_loader.transforms.packing import PackDetInputs
from asyncio_loader.transforms.structures import DetDataSample, InstanceData, installed_structures


@pytest.fixture(autouse=True)
def _ask_anew() -> Iterator[None]:
    installed_structures.cache_clear()
    yield
    installed_structures.cache_clear()


@pytest.fixture
def without_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmengine.structures", None)


def sample(**fields: Any) -> dict[str, Any]:
    return {
        "img_path": "a.png",
        "img_id": 4,
        "img": np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        "img_shape": (2, 4),
        "ori_shape": (2, 4),
        "gt_bboxes": np.array([[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]], dtype=np.float32),
        "gt_bboxes_labels": np.array([5, 6, 7]),
        "gt_ignore_flags": np.array([False, True, False]),
        "gt_masks": BitmapMasks(np.arange(24, dtype=np.uint8).reshape(3, 2, 4), 2, 4),
        **fields,
    }


def check_sample(packed: Any) -> None:
    assert {"img_id": 4, "img_path": "a.png", "img_shape": (2, 4), "ori_shape": (2, 4)} == dict(packed.metainfo)
    for instances, places in ((packed.gt_instances, [0, 2]), (packed.ignored_instances, [1])):
        assert len(places) == len(instances)
        assert [[float(p), p, p + 1, p + 1] for p in places] == instances.bboxes.tolist()
        assert [5 + p for p in places] == instances.labels.tolist()
        assert (torch.float32, torch.int64) == (instances.bboxes.dtype, instances.labels.dtype)
        assert [8 * p for p in places] == instances.masks.masks[:, 0, 0].tolist()


def test_the_image_is_a_tensor_of_its_own_kind() -> None:
    packed = PackDetInputs()(sample())

    assert (torch.uint8, (3, 2, 4), [0, 3, 6, 9]) == (
        packed["inputs"].dtype,
        tuple(packed["inputs"].shape),
        packed["inputs"][0, 0].tolist(),
    )


def test_objects_are_shared_out_by_their_flags_into_mmengines_classes() -> None:
    packed = PackDetInputs()(sample())["data_samples"]

    assert isinstance(packed, BaseDataElement)
    assert isinstance(packed.gt_instances, MmengineInstances)
    check_sample(packed)
    check_sample(pickle.loads(pickle.dumps(packed)))


@pytest.mark.usefixtures("without_mmengine")
def test_objects_are_shared_out_by_their_flags_into_ours_where_there_is_no_mmengine() -> None:
    packed = PackDetInputs()(sample())["data_samples"]

    assert isinstance(packed, DetDataSample)
    assert isinstance(packed.gt_instances, InstanceData)
    check_sample(packed)
    check_sample(pickle.loads(pickle.dumps(packed)))


@pytest.mark.parametrize("kind", ["bitmaps", "polygons"])
def test_masks_are_of_mmdets_class_where_mmdet_is_there(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Masks:
        def __init__(self, masks: Any, height: int, width: int) -> None:
            self.masks, self.height, self.width = masks, height, width

        def __len__(self) -> int:
            return len(self.masks)

    class Sample(BaseDataElement):
        pass

    mmdet, structures, mask = (ModuleType(name) for name in ("mmdet", "mmdet.structures", "mmdet.structures.mask"))
    structures.DetDataSample, structures.mask = Sample, mask  # type: ignore[attr-defined]
    mask.BitmapMasks, mask.PolygonMasks = Masks, Masks  # type: ignore[attr-defined]
    for module in (mmdet, structures, mask):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    polygons = PolygonMasks([[np.array([1, 1, 2, 2, 3, 3])]] * 3, 2, 4)
    given = sample() if kind == "bitmaps" else sample(gt_masks=polygons)
    packed = PackDetInputs()(given)["data_samples"]

    assert isinstance(packed, Sample)
    assert isinstance(packed.gt_instances.masks, Masks)
    assert (2, 2, 4) == (len(packed.gt_instances), packed.gt_instances.masks.height, packed.gt_instances.masks.width)


def test_without_flags_all_objects_are_to_be_learnt() -> None:
    packed = PackDetInputs()({"img_path": "a.png", "gt_bboxes_labels": np.array([1, 2])})

    assert [1, 2] == packed["data_samples"].gt_instances.labels.tolist()
    assert [] == list(packed["data_samples"].ignored_instances.keys())
    assert "inputs" not in packed


def test_flags_of_whole_numbers_count_as_well() -> None:
    check_sample(PackDetInputs()(sample(gt_ignore_flags=np.array([0, 1, 0], dtype=np.uint8)))["data_samples"])


def test_meta_keys_that_are_absent_are_left_out() -> None:
    packed = PackDetInputs(meta_keys=("img_id", "no_such_key", "flip"))(sample())["data_samples"]

    assert {"img_id": 4} == dict(packed.metainfo)


def test_a_sample_of_2x_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^PackDetInputs is mmdet 3\.x's and the sample 2\.x's"):
        PackDetInputs()({"img_info": {"filename": "a.png"}, "img": np.zeros((2, 2, 3))})
