"""Matching and box losses that both heads share, where the dialect says more than torchvision does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher

from asyncio_loader.training.sections import Section

__all__ = [
    "BoxLoss",
    "FloorMatcher",
    "read_assigner",
    "read_box_coder",
    "read_box_loss",
    "read_class_loss",
    "read_nms",
    "read_sampler",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLoss:
    """A regression loss, summed over all elements.

    torchvision's heads know only the smooth one with β = 1/9; the dialect's default is the plain L1 loss.

    Attributes:
        kind: name in the dialect.
        weight: factor.
        beta: where the smooth loss turns from square to linear.
    """

    kind: Literal["L1Loss", "SmoothL1Loss"]
    weight: float
    beta: float

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of two tensors of one shape."""
        if self.kind == "L1Loss":
            return F.l1_loss(prediction, target, reduction="sum") * self.weight
        return F.smooth_l1_loss(prediction, target, beta=self.beta, reduction="sum") * self.weight


class FloorMatcher(Matcher):  # type: ignore[misc]
    """torchvision's matcher, except that a ground truth box takes its best candidate only from an IoU of `floor` up."""

    def __init__(self, high: float, low: float, *, allow_low_quality_matches: bool, floor: float) -> None:
        super().__init__(high, low, allow_low_quality_matches=allow_low_quality_matches)
        self._floor = floor

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, match_quality_matrix: Tensor) -> None:
        """In place; see the base class."""
        reachable = match_quality_matrix.max(dim=1).values >= self._floor
        super().set_low_quality_matches_(matches, all_matches, match_quality_matrix[reachable])


def read_assigner(assigner: Section, *, low_quality: bool) -> FloorMatcher:
    """`MaxIoUAssigner`; `low_quality` is the default of `match_low_quality`."""
    with assigner:
        assigner.choice("type", ["MaxIoUAssigner"])
        high = assigner.number("pos_iou_thr")
        low = assigner.number("neg_iou_thr")
        if low > high:
            raise assigner.error("neg_iou_thr", f"must not be above pos_iou_thr={high:g}")
        assigner.fixed("torchvision's heads don't know ignored regions", ignore_iof_thr=-1)
        # Where the matching runs, and in what pieces: nothing that changes its outcome.
        assigner.ignore("gpu_assign_thr", "iou_calculator", "gt_max_assign_all")
        return FloorMatcher(
            high,
            low,
            allow_low_quality_matches=assigner.flag("match_low_quality", low_quality),
            floor=assigner.number("min_pos_iou", 0.0),
        )


def read_sampler(sampler: Section, *, adds_truth: bool) -> BalancedPositiveNegativeSampler:
    """`RandomSampler`; `adds_truth`: whether this head of torchvision adds the ground truth to its proposals."""
    with sampler:
        sampler.choice("type", ["RandomSampler"])
        sampler.fixed("torchvision's sampler has no other", neg_pos_ub=-1, add_gt_as_proposals=adds_truth)
        fraction = sampler.number("pos_fraction")
        if fraction > 1:
            raise sampler.error("pos_fraction", "must be a share from 0 to 1")
        return BalancedPositiveNegativeSampler(sampler.count("num", least=1), fraction)


def read_box_coder(coder: Section) -> BoxCoder:
    """`DeltaXYWHBBoxCoder`: torchvision multiplies by weights where the dialect divides by standard deviations."""
    with coder:
        coder.choice("type", ["DeltaXYWHBBoxCoder"])
        coder.fixed("torchvision's coder has no means", target_means=[0.0, 0.0, 0.0, 0.0])
        coder.fixed("torchvision's coder has no other", clip_border=True, add_ctr_clamp=False)
        coder.ignore("ctr_clamp")
        stds = coder.numbers("target_stds", (1.0, 1.0, 1.0, 1.0), length=4)
        if min(stds) <= 0:
            raise coder.error("target_stds", "must be above 0")
    return BoxCoder(tuple(1.0 / s for s in stds))


def read_box_loss(loss: Section) -> BoxLoss:
    """`L1Loss` or `SmoothL1Loss`."""
    with loss:
        kind = loss.choice("type", ["L1Loss", "SmoothL1Loss"], why="these are the box losses there are")
        loss.fixed("the heads average themselves", reduction="mean")
        beta = loss.number("beta", 1.0) if kind == "SmoothL1Loss" else 0.0
        return BoxLoss(kind=kind, weight=loss.number("loss_weight", 1.0), beta=beta)


def read_class_loss(loss: Section, *, sigmoid: bool) -> float:
    """`CrossEntropyLoss`: its weight. `sigmoid`: whether this head of torchvision is binary."""
    with loss:
        loss.choice("type", ["CrossEntropyLoss"], why="this is the class loss there is")
        loss.choice("use_sigmoid", [sigmoid], False)
        loss.fixed("torchvision's heads have no other", use_mask=False, reduction="mean", class_weight=None)
        return loss.number("loss_weight", 1.0)


def read_nms(nms: Section) -> float:
    """`nms`: its IoU threshold."""
    with nms:
        nms.choice("type", ["nms"], why="torchvision has the hard one only")
        nms.ignore("split_thr", "max_num")
        return nms.number("iou_threshold")
