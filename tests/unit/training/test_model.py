from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.model import FasterRCNN, build_model, pad_images, to_original


def target(
    boxes: list[list[float]], labels: list[int], img_shape: tuple[int, int, int] = (64, 64, 3)
) -> dict[str, Any]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "img_shape": img_shape,
        "scale_factor": torch.tensor([2.0, 2.0, 2.0, 2.0]),
        "filename": "a.jpg",
    }


@pytest.fixture
def model(small_model: dict[str, Any]) -> FasterRCNN:
    torch.manual_seed(0)
    return build_model(small_model)


def change(values: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the value at a dotted path set."""
    changed = copy.deepcopy(values)
    *parents, last = path.split(".")
    place = changed
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return changed


def test_losses_have_the_names_of_the_dialect_and_reach_every_part(model: FasterRCNN) -> None:
    losses = model([torch.rand(3, 64, 64)], [target([[8, 8, 40, 40]], [1])])
    sum(losses.values()).backward()

    assert list(losses) == ["loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"]
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_image_without_boxes_trains_the_background(model: FasterRCNN) -> None:
    losses = model([torch.rand(3, 64, 64)], [target([], [])])

    assert losses["loss_bbox"].item() == 0.0
    assert losses["loss_cls"].item() > 0.0


def test_boxes_without_an_area_are_left_out(model: FasterRCNN) -> None:
    losses = model([torch.rand(3, 64, 64)], [target([[8, 8, 8, 40], [8, 8, 40, 40]], [1, 2])])

    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_target_without_boxes_says_what_the_pipeline_lacks(model: FasterRCNN) -> None:
    with pytest.raises(ConfigError, match=r"a\.jpg: no boxes to train on: the training pipeline needs LoadAnnotations"):
        model([torch.rand(3, 64, 64)], [{"img_shape": (64, 64, 3), "filename": "a.jpg"}])


def test_predictions_are_boxes_within_the_original_image_with_labels_from_zero(model: FasterRCNN) -> None:
    model.eval()
    model.roi_heads.score_thresh = 0.0
    with torch.no_grad():
        (found,) = model([torch.rand(3, 64, 64)], [target([], [], img_shape=(48, 64, 3))], mode="predict")

    # The image proper is 64 wide and 48 high, the original half of it; the rows below are padding.
    assert found["boxes"].shape[1] == 4
    assert len(found["boxes"]) > 0
    assert found["boxes"].min() >= 0
    assert found["boxes"][:, 2].max() <= 32
    assert found["boxes"][:, 3].max() <= 24
    assert set(found["labels"].tolist()) <= {0, 1, 2}
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)


def test_images_of_a_batch_are_padded_at_the_right_and_bottom() -> None:
    images = [torch.ones(3, 32, 64), torch.ones(3, 64, 32)]

    batch = pad_images(images, [{"img_shape": (30, 64, 3)}, {"img_shape": (64, 31, 3)}])

    assert batch.tensors.shape == (2, 3, 64, 64)
    assert batch.tensors[0, :, 32:].sum() == 0
    assert batch.tensors[1, :, :, 32:].sum() == 0
    assert batch.image_sizes == [(30, 64), (64, 31)]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [(None, [5, 10, 15, 10]), ("horizontal", [35, 10, 45, 10]), ("vertical", [5, 30, 15, 30])],
)
def test_boxes_return_to_the_original_image(direction: str | None, expected: list[float]) -> None:
    meta = {
        "img_shape": (80, 100, 3),
        "scale_factor": [2.0, 2.0, 2.0, 2.0],
        "flip": direction is not None,
        "flip_direction": direction,
    }

    boxes: Tensor = to_original(torch.tensor([[10.0, 20.0, 30.0, 20.0]]), meta)

    assert boxes.tolist() == [expected]


def test_a_target_without_a_scale_says_what_the_pipeline_lacks() -> None:
    with pytest.raises(ConfigError, match=r"^a\.jpg: no scale_factor .* the meta_keys of Collect or PackDetInputs$"):
        to_original(torch.zeros(1, 4), {"filename": "a.jpg", "flip": False})


@pytest.mark.parametrize(
    ("path", "value", "start"),
    [
        ("type", "FasterRCN", "model.type='FasterRCN' must be 'FasterRCNN'; did you mean"),
        ("nek", {}, "model.nek={}: there is no such key; did you mean 'neck'?"),
        ("backbone.depth", 51, "model.backbone.depth=51 must be one of 18, 34, 50, 101, 152"),
        ("backbone.style", "caffe", "model.backbone.style='caffe' must be 'pytorch'"),
        ("backbone.dcn", {"type": "DCN"}, "model.backbone.dcn={'type': 'DCN'} must be None"),
        ("backbone.frozen_stages", 5, "model.backbone.frozen_stages=5 must be from -1"),
        ("backbone.out_indices", (3, 2), "model.backbone.out_indices=(3, 2) must be"),
        ("backbone.norm_cfg", {"type": "SyncBN"}, "model.backbone.norm_cfg.type='SyncBN' must be 'BN' or 'GN'"),
        (
            "backbone.frozen_stage",
            1,
            "model.backbone.frozen_stage=1: there is no such key; did you mean 'frozen_stages'?",
        ),
        ("neck.in_channels", [256, 512, 1024, 2048], "model.neck.in_channels=[256, 512, 1024, 2048] must be [64, 128"),
        ("neck.num_outs", 6, "model.neck.num_outs=6 must be 4 or 5"),
        ("neck.add_extra_convs", "on_input", "model.neck.add_extra_convs='on_input' must be False"),
        ("rpn_head.loss_bbox.type", "GIoULoss", "model.rpn_head.loss_bbox.type='GIoULoss' must be 'L1Loss' or"),
        ("rpn_head.loss_cls.use_sigmoid", False, "model.rpn_head.loss_cls.use_sigmoid=False must be True"),
        ("rpn_head.feat_channels", 7, "model.rpn_head.feat_channels=7 must be 16"),
        ("rpn_head.anchor_generator.strides", [4], "model.rpn_head.anchor_generator.strides=[4] must be 5 whole"),
        ("roi_head.type", "CascadeRoIHead", "model.roi_head.type='CascadeRoIHead' must be 'StandardRoIHead'"),
        ("roi_head.mask_head", {}, "model.roi_head.mask_head={} must be None"),
        ("roi_head.bbox_head.num_classes", 0, "model.roi_head.bbox_head.num_classes=0 must be a whole number"),
        ("roi_head.bbox_head.reg_class_agnostic", True, "model.roi_head.bbox_head.reg_class_agnostic=True must be"),
        ("roi_head.bbox_head.roi_feat_size", 14, "model.roi_head.bbox_head.roi_feat_size=14 must be 7"),
        ("train_cfg.rcnn.sampler.type", "OHEMSampler", "model.train_cfg.rcnn.sampler.type='OHEMSampler' must be"),
        ("train_cfg.rpn.assigner.neg_iou_thr", 0.8, "model.train_cfg.rpn.assigner.neg_iou_thr=0.8 must not be above"),
        ("train_cfg.rpn_proposal.nms.iou_threshold", 0.6, "model.test_cfg.rpn.nms="),
        ("test_cfg.rcnn.nms.type", "soft_nms", "model.test_cfg.rcnn.nms.type='soft_nms' must be 'nms'"),
        (
            "test_cfg.rcnn.score_th",
            0.1,
            "model.test_cfg.rcnn.score_th=0.1: there is no such key; did you mean 'score_thr'?",
        ),
    ],
)
def test_what_torchvision_cannot_express_is_named(
    small_model: dict[str, Any], path: str, value: object, start: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(change(small_model, path, value))

    assert str(caught.value).startswith(start)


def test_the_model_of_the_base_config_is_built_as_it_stands(base_model: dict[str, Any]) -> None:
    built = build_model(change(base_model, "backbone.init_cfg", None))

    assert built.class_count == 80
    assert sum(p.numel() for p in built.parameters()) == pytest.approx(41.76e6, rel=1e-3)
