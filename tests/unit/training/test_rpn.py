from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from asyncio_loader.training.box_loss import BoxLoss
from asyncio_loader.training.rpn import ProposalNetwork, StridedAnchors

RATIOS = (0.5, 1.0, 2.0)


def images(height: int, width: int) -> ImageList:
    return ImageList(torch.zeros(1, 3, height, width), [(height, width)])


def test_anchors_are_torchvisions_where_the_image_divides() -> None:
    maps = [torch.zeros(1, 8, 16, 24), torch.zeros(1, 8, 8, 12)]
    theirs = AnchorGenerator(((32,), (64,)), (RATIOS, RATIOS))

    (anchors,) = StridedAnchors((4, 8), (8.0,), RATIOS)(images(64, 96), maps)

    torch.testing.assert_close(anchors, theirs(images(64, 96), maps)[0])


def test_the_pooled_level_keeps_its_stride_where_the_image_does_not_divide() -> None:
    # 800 pixels are 12.5 strides of 64: torchvision would take 61.
    (anchors,) = StridedAnchors((64,), (8.0,), (1.0,))(images(800, 800), [torch.zeros(1, 8, 13, 13)])

    centres = (anchors[:, 0] + anchors[:, 2]) / 2
    assert centres[:13].tolist() == [64.0 * i for i in range(13)]


def networks() -> tuple[ProposalNetwork, RegionProposalNetwork]:
    """Ours with torchvision's loss, and torchvision's, of equal weights."""
    anchors = StridedAnchors((4,), (8.0,), RATIOS)
    head = RPNHead(8, 3)
    numbers = {"training": 50, "testing": 50}
    arguments = (anchors, head, 0.7, 0.3, 64, 0.5, numbers, numbers, 0.7)
    loss = BoxLoss(kind="SmoothL1Loss", weight=1.0, beta=1 / 9)
    return ProposalNetwork(*arguments, box_loss=loss, class_weight=1.0), RegionProposalNetwork(*arguments)


def test_losses_are_torchvisions_where_they_can_be_compared() -> None:
    torch.manual_seed(0)
    ours, theirs = networks()
    features = {"0": torch.rand(1, 8, 16, 16)}
    targets = [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 36.0]])}]

    losses = []
    for network in (ours, theirs):
        torch.manual_seed(1)
        losses.append(network(images(64, 64), features, targets)[1])

    torch.testing.assert_close(losses[0], losses[1])


def test_an_image_without_a_box_has_a_finite_loss() -> None:
    ours, _ = networks()

    _, losses = ours(images(64, 64), {"0": torch.rand(1, 8, 16, 16)}, [{"boxes": torch.zeros(0, 4)}])

    assert losses["loss_rpn_box_reg"].item() == 0.0
    assert losses["loss_objectness"].item() == pytest.approx(0.69, abs=0.1)
