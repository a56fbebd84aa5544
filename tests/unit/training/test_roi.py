from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign

from asyncio_loader.training.box_loss import BoxLoss
from asyncio_loader.training.roi import BoxHead, RegionPool

NAMES = ["0", "1", "2", "3"]
BOXES = [
    torch.tensor([[10.0, 10, 60, 50], [0, 0, 300, 250], [5, 5, 500, 420]]),
    torch.tensor([[30.0, 20, 150, 200]]),
]
SHAPES = [(512, 512), (512, 512)]


def maps() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.rand(2, 4, 128 >> i, 128 >> i) for i, name in enumerate(NAMES)}


def pool(*, aligned: bool = False) -> RegionPool:
    return RegionPool((4, 8, 16, 32), output_size=7, sampling_ratio=2, aligned=aligned, finest_scale=56)


def test_pooling_is_torchvisions_where_it_is_not_aligned() -> None:
    theirs = MultiScaleRoIAlign(NAMES, output_size=7, sampling_ratio=2)

    torch.testing.assert_close(pool()(maps(), BOXES, SHAPES), theirs(maps(), BOXES, SHAPES))


def test_aligned_pooling_is_half_a_pixel_off() -> None:
    features = {"0": torch.arange(64.0).repeat(1, 1, 64, 1)}
    boxes = [torch.tensor([[40.0, 40, 68, 68]])]
    shift = RegionPool((4,), output_size=7, sampling_ratio=2, aligned=False, finest_scale=56)(features, boxes, None)
    shift -= RegionPool((4,), output_size=7, sampling_ratio=2, aligned=True, finest_scale=56)(features, boxes, None)

    torch.testing.assert_close(shift, torch.full_like(shift, 0.5))


def test_no_boxes_pool_to_nothing() -> None:
    assert pool()(maps(), [torch.zeros(0, 4), torch.zeros(0, 4)], SHAPES).shape == (0, 4, 7, 7)


def heads() -> tuple[BoxHead, RoIHeads]:
    """Ours with torchvision's loss, and torchvision's, of equal weights."""
    torch.manual_seed(0)
    parts: tuple[nn.Module, ...] = (pool(), TwoMLPHead(4 * 49, 16), FastRCNNPredictor(16, 4))
    arguments: tuple[Any, ...] = (*parts, 0.5, 0.5, 64, 0.25, None, 0.05, 0.5, 100)
    loss = BoxLoss(kind="SmoothL1Loss", weight=1.0, beta=1 / 9)
    return BoxHead(*arguments, box_loss=loss, class_weight=1.0), RoIHeads(*arguments)


def test_losses_are_torchvisions_where_they_can_be_compared() -> None:
    targets = [
        {"boxes": torch.tensor([[12.0, 10, 60, 50]]), "labels": torch.tensor([2])},
        {"boxes": torch.tensor([[30.0, 20, 160, 200]]), "labels": torch.tensor([3])},
    ]
    ours, theirs = heads()

    losses = []
    for head in (ours, theirs):
        torch.manual_seed(1)
        losses.append(head(maps(), [b.clone() for b in BOXES], SHAPES, targets)[1])

    torch.testing.assert_close(losses[0]["loss_cls"], losses[1]["loss_classifier"])
    torch.testing.assert_close(losses[0]["loss_bbox"], losses[1]["loss_box_reg"])


def test_detections_are_torchvisions() -> None:
    ours, theirs = heads()
    ours.eval()
    theirs.eval()

    (mine, _), (other, _) = ours(maps(), BOXES, SHAPES), theirs(maps(), BOXES, SHAPES)

    torch.testing.assert_close(mine, other)
