from __future__ import annotations

import copy

import pytest
import torch

from asyncio_loader.transforms.structures import DetDataSample, InstanceData


def instances() -> InstanceData:
    return InstanceData(bboxes=torch.zeros(2, 4), names=["a", "b"])


def test_fields_are_attributes_of_one_length() -> None:
    data = instances()

    assert (2, ["bboxes", "names"], True, False) == (len(data), data.keys(), "names" in data, "masks" in data)
    assert ["a", "b"] == data.names == data.get("names")
    assert data.get("masks") is None
    assert "names=['a', 'b']" in repr(data)
    assert 0 == len(InstanceData())


def test_a_field_that_is_not_there_is_an_attribute_error_that_names_those_that_are() -> None:
    with pytest.raises(AttributeError, match="no 'masks' among bboxes, names"):
        _ = instances().masks


def test_tensors_are_moved_and_other_fields_shared() -> None:
    data = instances()
    moved = data.to(torch.float64)

    assert (torch.float64, torch.float32) == (moved.bboxes.dtype, data.bboxes.dtype)
    assert moved.names is data.names


def test_meta_data_are_attributes_of_a_sample() -> None:
    sample = DetDataSample(metainfo={"img_id": 4})
    sample.set_metainfo({"is_padding": True})
    sample.gt_instances = instances()

    assert (4, True, {"img_id": 4, "is_padding": True}) == (sample.img_id, sample.is_padding, sample.metainfo)
    assert ("img_id" in sample, "gt_instances" in sample, "flip" in sample) == (True, True, False)
    assert (4, None) == (sample.get("img_id"), sample.get("flip"))
    assert "gt_instances=InstanceData(" in repr(sample)
    with pytest.raises(AttributeError, match="no 'flip' in a sample of metainfo, gt_instances, img_id, is_padding"):
        _ = sample.flip


def test_a_sample_is_moved_with_all_that_it_has() -> None:
    sample = DetDataSample(metainfo={"img_id": 4})
    sample.gt_instances = instances()
    moved = sample.to(torch.float64)

    assert (torch.float64, 4) == (moved.gt_instances.bboxes.dtype, moved.img_id)
    assert torch.float32 == sample.gt_instances.bboxes.dtype


def test_copies_are_whole() -> None:
    sample = DetDataSample(metainfo={"img_id": 4})
    sample.gt_instances = instances()
    twin = copy.deepcopy(sample)
    twin.set_metainfo({"img_id": 5})

    assert (4, 5, 2) == (sample.img_id, twin.img_id, len(twin.gt_instances))
