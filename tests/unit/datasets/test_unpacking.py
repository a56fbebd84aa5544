from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets.collate import collate_detection
from asyncio_loader.datasets.unpacking import unpack
from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.masks import BitmapMasks
from asyncio_loader.transforms.packing import PackDetInputs


def packed(**changes: Any) -> dict[str, Any]:
    """Two objects, and a crowd."""
    results = {
        "img": np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3),
        "img_path": "a/b.jpg",
        "img_id": 7,
        "ori_shape": (8, 12),
        "img_shape": (4, 6),
        "scale_factor": (0.5, 0.25),
        "flip": True,
        "flip_direction": "horizontal",
        "gt_bboxes": np.array([[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 6, 4]], dtype=np.float32),
        "gt_bboxes_labels": np.array([0, 4, 1]),
        "gt_ignore_flags": np.array([False, False, True]),
        "gt_masks": BitmapMasks([np.full((4, 6), n, dtype=np.uint8) for n in range(3)], 4, 6),
        **changes,
    }
    return PackDetInputs()({key: value for key, value in results.items() if value is not None})


def test_objects_are_those_to_learn_and_those_to_ignore() -> None:
    target = unpack(packed())

    assert target["boxes"].tolist() == [[0, 0, 2, 2], [1, 1, 3, 3]]
    assert target["labels"].tolist() == [1, 5]
    assert target["boxes_ignore"].tolist() == [[0, 0, 6, 4]]
    assert target["masks"].tolist() == [[[n] * 6] * 4 for n in (0, 1)]
    assert [target[name].dtype for name in ("boxes", "labels", "masks")] == [torch.float32, torch.int64, torch.uint8]


def test_facts_have_the_names_and_forms_of_2x() -> None:
    target = unpack(packed())

    assert (target["filename"], target["img_id"], target["flip"]) == ("a/b.jpg", 7, True)
    assert (target["img_shape"], target["scale_factor"]) == ((4, 6), (0.5, 0.25, 0.5, 0.25))


def test_what_the_sample_has_not_the_target_has_not() -> None:
    names = ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks", "scale_factor", "img_path")
    target = unpack(packed(**dict.fromkeys(names)))

    missing = ("boxes", "labels", "masks", "boxes_ignore", "scale_factor", "filename")
    assert [name for name in missing if name in target] == []


def test_an_image_of_which_little_is_known_has_its_size_and_if_that_stayed_a_scale() -> None:
    plain = {"img_shape": None, "scale_factor": None}

    assert unpack(packed(**plain))["img_shape"] == (4, 6)
    assert unpack(packed(**plain, ori_shape=(4, 6)))["scale_factor"] == (1.0, 1.0, 1.0, 1.0)


def test_no_objects_are_boxes_of_shape_0_4() -> None:
    nothing = {"gt_bboxes": np.zeros((0, 4), np.float32), "gt_bboxes_labels": np.zeros(0, np.int64)}
    target = unpack(packed(**nothing, gt_ignore_flags=np.zeros(0, bool), gt_masks=None))

    assert (target["boxes"].shape, target["labels"].shape, target["boxes_ignore"].shape) == ((0, 4), (0,), (0, 4))


def test_a_batch_has_images_as_floats_or_as_they_are() -> None:
    samples = [packed(), packed()]

    images, targets = collate_detection(samples)
    bytes_, _ = collate_detection(samples, as_float=False)

    assert [image.dtype for image in (*images, *bytes_)] == [torch.float32] * 2 + [torch.uint8] * 2
    assert torch.equal(images[0], bytes_[0].float())
    assert [target["is_padding"] for target in targets] == [False, False]
    assert "img" not in targets[0]


def test_a_sample_that_is_padding_stays_so() -> None:
    sample = packed()
    sample["data_samples"].set_metainfo({"is_padding": True})

    _, (target,) = collate_detection([sample])

    assert target["is_padding"] is True


def test_several_looks_are_refused() -> None:
    one = packed()
    with pytest.raises(ConfigError, match="takes one look at each image, but TestTimeAug gives 2"):
        collate_detection([{key: [value, value] for key, value in one.items()}])


def test_the_only_look_is_taken() -> None:
    one = packed()
    target = unpack({key: [value] for key, value in one.items()})

    assert target.keys() == unpack(one).keys()
    assert torch.equal(target["img"], one["inputs"])


def test_an_image_is_needed() -> None:
    with pytest.raises(ConfigError, match="the pipeline needs LoadImageFromFile"):
        collate_detection([packed(img=None)])
