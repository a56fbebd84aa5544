from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets.collate import collate, collate_detection
from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.masks import BitmapMasks


def image(height: int, width: int, **notes: Any) -> DataContainer:
    return DataContainer(torch.ones(3, height, width), stack=True, **notes)


def train_sample(boxes: int = 2, **entries: Any) -> dict[str, Any]:
    return {
        "img_metas": DataContainer({"filename": "a.jpg", "flip": False}, cpu_only=True),
        "img": image(4, 6),
        "gt_bboxes": DataContainer(torch.arange(4.0).repeat(boxes, 1)),
        "gt_labels": DataContainer(torch.arange(boxes)),
        **entries,
    }


def test_images_are_padded_to_the_largest_and_stacked() -> None:
    batch = collate([image(2, 5, padding_value=7), image(4, 3, padding_value=7)], samples_per_gpu=2)
    (stacked,) = batch.data

    assert (2, 3, 4, 5) == tuple(stacked.shape)
    assert (30, 36) == ((stacked[0] == 1).sum(), (stacked[1] == 1).sum())
    assert {1.0, 7.0} == set(stacked.unique().tolist())
    assert (True, 7, False) == (batch.stack, batch.padding_value, batch.cpu_only)


@pytest.mark.parametrize("dtypes", [("bfloat16", "bfloat16"), ("float32", "bfloat16"), ("float32", "uint8")])
def test_dtypes_that_numpy_has_not_are_stacked_as_well(dtypes: tuple[str, str]) -> None:
    first, second = (getattr(torch, dtype) for dtype in dtypes)
    images = [torch.ones(3, 2, 5, dtype=first), torch.full((3, 4, 3), 2, dtype=second)]
    (stacked,) = collate([DataContainer(each, stack=True) for each in images], samples_per_gpu=2).data

    assert stacked.dtype == first
    assert [stacked[0].sum().item(), stacked[1].sum().item()] == [30, 72]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_copies_are_made_by_the_thread_that_calls() -> None:
    images = [DataContainer(torch.ones(3, 800, 1088), stack=True) for _ in range(2)]
    before_threads = torch.get_num_threads()
    more: list[str] = []

    def work() -> None:
        # A thread that is born now has a pool of its own as soon as torch shares its first call.
        before = set(os.listdir("/proc/self/task"))
        collate(images, samples_per_gpu=2)
        more.extend(set(os.listdir("/proc/self/task")) - before)

    torch.set_num_threads(4)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before_threads)

    assert more == []


def test_a_stack_of_one_is_no_copy() -> None:
    sample = image(2, 5)
    (stacked,) = collate([sample]).data
    (turned,) = collate([DataContainer(sample.data.transpose(1, 2), stack=True)]).data

    assert (1, 3, 2, 5) == tuple(stacked.shape)
    assert stacked.data_ptr() == sample.data.data_ptr()
    assert (1, 3, 5, 2) == tuple(turned.shape)
    assert turned.is_contiguous()


def test_a_stack_is_written_where_nothing_is_left_of_an_earlier_one() -> None:
    images = [image(200, 300), image(300, 200)]
    kept = [collate(images, samples_per_gpu=2).data[0] for _ in range(3)]
    (dropped,) = collate(images, samples_per_gpu=2).data
    address = dropped.data_ptr()
    del dropped
    darker = [DataContainer(each.data / 2, stack=True) for each in images]
    later = [collate(darker, samples_per_gpu=2).data[0] for _ in range(3)]

    assert address in {stacked.data_ptr() for stacked in later}
    assert {1.0, 0.0} == {value for stacked in kept for value in stacked.unique().tolist()}


class _Stack:
    """A map-style dataset for a DataLoader; at module level, so that workers can load it."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"img": DataContainer(torch.full((3, 40 + index, 50), float(index)), stack=True)}


def _collate_and_tell(samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch = collate(samples, samples_per_gpu=2)
    return {**batch, "was_shared": batch["img"].data[0].is_shared()}


def test_in_a_worker_a_stack_is_in_shared_memory_before_it_is_sent() -> None:
    batches = list(torch.utils.data.DataLoader(_Stack(), 2, num_workers=1, collate_fn=_collate_and_tell))  # type: ignore[arg-type]

    assert [True, True] == [batch["was_shared"] for batch in batches]
    assert [(2, 3, 41, 50), (2, 3, 43, 50)] == [tuple(batch["img"].data[0].shape) for batch in batches]
    assert [[0, 1], [2, 3]] == [batch["img"].data[0][:, 0, 0, 0].tolist() for batch in batches]
    assert 0 == batches[0]["img"].data[0][0, :, 40].abs().sum()
    assert _collate_and_tell([_Stack()[0], _Stack()[1]])["was_shared"] is False


def test_a_stack_of_nothing_is_one_in_a_worker_too() -> None:
    empty = [DataContainer(torch.ones(3, 0, 5), stack=True) for _ in range(2)]
    loader = torch.utils.data.DataLoader([empty], 1, num_workers=1, collate_fn=lambda s: collate(s[0], 2))  # type: ignore[arg-type]

    assert [(2, 3, 0, 5)] == [tuple(batch.data[0].shape) for batch in loader]


def test_every_device_is_padded_for_itself() -> None:
    batch = collate([image(2, 2), image(3, 3), image(4, 4)], samples_per_gpu=2)

    assert [(2, 3, 3, 3), (1, 3, 4, 4)] == [tuple(part.shape) for part in batch.data]


def test_what_is_not_stacked_stays_a_list_per_device() -> None:
    batch = collate([DataContainer(i) for i in range(3)], samples_per_gpu=2)

    assert ([[0, 1], [2]], False, False) == (batch.data, batch.stack, batch.cpu_only)


def test_what_is_for_the_host_is_never_stacked() -> None:
    batch = collate([DataContainer(i, stack=True, cpu_only=True) for i in range(2)], samples_per_gpu=2)

    assert ([[0, 1]], True) == (batch.data, batch.cpu_only)


def test_tensors_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot stack tensors of shapes \(3, 2, 2\), \(1, 2, 2\)"):
        collate([image(2, 2), DataContainer(torch.ones(1, 2, 2), stack=True)], samples_per_gpu=2)


def test_without_dimensions_to_pad_the_shapes_must_be_equal() -> None:
    with pytest.raises(ValueError, match="cannot stack"):
        collate([image(2, 2, pad_dims=None), image(3, 2, pad_dims=None)], samples_per_gpu=2)
    assert (2, 3, 2, 2) == tuple(collate([image(2, 2, pad_dims=None)] * 2, samples_per_gpu=2).data[0].shape)


def test_dicts_and_lists_are_batched_entry_by_entry() -> None:
    batch = collate([{"img": [torch.zeros(3), "a"]}, {"img": [torch.ones(3), "b"]}])

    assert ["img"] == list(batch)
    assert (2, 3) == tuple(batch["img"][0].shape)
    assert ["a", "b"] == batch["img"][1]


def test_a_batch_is_a_sequence() -> None:
    with pytest.raises(TypeError, match="a batch is a list of samples, not a set"):
        collate({1})  # type: ignore[arg-type]


def test_detection_gives_images_and_targets() -> None:
    images, targets = collate_detection([train_sample(), train_sample(1)])

    assert [(3, 4, 6)] * 2 == [tuple(img.shape) for img in images]
    assert ["filename", "flip", "boxes", "labels", "is_padding"] == list(targets[0])
    assert (2, 4) == tuple(targets[0]["boxes"].shape)
    assert [1, 2] == targets[0]["labels"].tolist()
    assert (torch.float32, torch.int64) == (targets[0]["boxes"].dtype, targets[0]["labels"].dtype)


def test_detection_keeps_images_of_their_own_size() -> None:
    images, _ = collate_detection([train_sample(), train_sample(img=image(9, 9))])

    assert [(3, 4, 6), (3, 9, 9)] == [tuple(img.shape) for img in images]


def test_detection_of_an_image_without_boxes_has_none() -> None:
    empty = train_sample(0, gt_bboxes=DataContainer(torch.zeros(0)), gt_labels=DataContainer(torch.zeros(0)))
    _, (target,) = collate_detection([empty])

    assert ((0, 4), (0,)) == (tuple(target["boxes"].shape), tuple(target["labels"].shape))
    assert torch.int64 == target["labels"].dtype


def test_detection_brings_ignored_boxes_masks_and_further_entries() -> None:
    masks = BitmapMasks(np.ones((2, 4, 6), np.uint8), 4, 6)
    extra = {"gt_bboxes_ignore": DataContainer(torch.zeros(1, 4)), "gt_masks": DataContainer(masks, cpu_only=True)}
    _, (target,) = collate_detection([train_sample(**extra, position=5)])

    assert (1, 4) == tuple(target["boxes_ignore"].shape)
    assert ((2, 4, 6), torch.uint8) == (tuple(target["masks"].shape), target["masks"].dtype)
    assert 5 == target["position"]


def test_detection_takes_the_single_look_of_a_test_sample() -> None:
    sample = {"img_metas": [DataContainer({"filename": "a.jpg"}, cpu_only=True)], "img": [torch.zeros(3, 2, 2)]}
    images, targets = collate_detection([sample])

    assert (3, 2, 2) == tuple(images[0].shape)
    assert [{"filename": "a.jpg", "is_padding": False}] == targets


def test_detection_makes_whole_pixels_floats() -> None:
    (img,), _ = collate_detection([{"img": torch.zeros(3, 2, 2, dtype=torch.uint8)}])

    assert torch.float32 == img.dtype


def test_detection_leaves_pixels_as_they_are_for_who_wants_them_so() -> None:
    pixels = torch.full((3, 4, 6), 200, dtype=torch.uint8)
    images, _ = collate_detection([train_sample(img=DataContainer(pixels, stack=True))], as_float=False)

    assert images[0].dtype == torch.uint8
    assert torch.equal(images[0], pixels)


def test_detection_refuses_more_than_one_look() -> None:
    with pytest.raises(ConfigError, match="takes one look at each image, but 'img' has 2: give MultiScaleFlipAug one"):
        collate_detection([{"img": [torch.zeros(3, 2, 2)] * 2}])


def test_detection_needs_an_image() -> None:
    with pytest.raises(ConfigError, match="needs 'img' in a sample, which has only 'gt_labels'"):
        collate_detection([{"gt_labels": DataContainer(torch.zeros(1))}])


def test_detection_tells_padding_by_the_mark_in_the_meta_data_or_in_the_sample() -> None:
    def metas(**marks: bool) -> DataContainer:
        return DataContainer({"filename": "a.jpg", **marks}, cpu_only=True)

    img = torch.zeros(3, 2, 2)
    samples = [
        {"img": img, "img_metas": metas()},
        {"img": img, "img_metas": metas(is_padding=True)},
        {"img": [img], "img_metas": [metas(is_padding=True)]},
        {"img": img, "is_padding": True},
        {"img": img},
    ]
    _, targets = collate_detection(samples)

    assert [False, True, True, True, False] == [target["is_padding"] for target in targets]


def test_a_pipeline_that_does_not_end_with_collect_is_told_so() -> None:
    with pytest.raises(ConfigError, match="end the pipeline with DefaultFormatBundle and Collect"):
        collate_detection([{"img": torch.zeros(3, 2, 2), "img_fields": ["img"], "bbox_fields": ["a", "b"]}])
