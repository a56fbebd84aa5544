from __future__ import annotations

from typing import Any

import pytest
import torch

from asyncio_loader.training.box_loss import (
    BoxLoss,
    FloorMatcher,
    read_assigner,
    read_box_coder,
    read_box_loss,
    read_class_loss,
    read_nms,
    read_sampler,
)
from asyncio_loader.training.sections import Section


def section(**values: Any) -> Section:
    return Section(values, "s")


def test_l1_loss_is_the_weighted_sum_of_distances() -> None:
    loss = BoxLoss(kind="L1Loss", weight=2.0, beta=0.0)

    assert loss(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 1.0])).item() == pytest.approx(5.0)


def test_smooth_l1_loss_is_square_below_beta() -> None:
    loss = BoxLoss(kind="SmoothL1Loss", weight=1.0, beta=1.0)

    assert loss(torch.tensor([0.5, 2.0]), torch.zeros(2)).item() == pytest.approx(0.125 + 1.5)


def test_a_ground_truth_takes_its_best_candidate_only_from_the_floor_up() -> None:
    # Two ground truth boxes; the best candidate of the second overlaps by too little.
    overlaps = torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.2, 0.1]])
    matcher = FloorMatcher(0.7, 0.3, allow_low_quality_matches=True, floor=0.3)
    permissive = FloorMatcher(0.7, 0.3, allow_low_quality_matches=True, floor=0.0)

    assert matcher(overlaps).tolist() == [0, -1, -1]
    assert permissive(overlaps).tolist() == [0, 1, -1]


def test_assigner_keeps_the_default_of_its_head() -> None:
    values = {"type": "MaxIoUAssigner", "pos_iou_thr": 0.7, "neg_iou_thr": 0.3}

    assert read_assigner(section(**values), low_quality=True).allow_low_quality_matches
    assert not read_assigner(section(**values), low_quality=False).allow_low_quality_matches


def test_sampler() -> None:
    sampler = read_sampler(
        section(type="RandomSampler", num=256, pos_fraction=0.5, add_gt_as_proposals=False), adds_truth=False
    )

    assert (sampler.batch_size_per_image, sampler.positive_fraction) == (256, 0.5)


def test_weights_of_the_coder_are_the_inverse_deviations() -> None:
    coder = read_box_coder(section(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]))

    assert coder.weights == pytest.approx((10, 10, 5, 5))


def test_losses_and_nms_default_as_in_the_dialect() -> None:
    assert read_box_loss(section(type="SmoothL1Loss")) == BoxLoss(kind="SmoothL1Loss", weight=1.0, beta=1.0)
    assert read_class_loss(section(type="CrossEntropyLoss", loss_weight=0.5), sigmoid=False) == 0.5
    assert read_nms(section(type="nms", iou_threshold=0.6)) == 0.6
