"""`model.rpn_head`: torchvision's region proposal network with the dialect's anchors, matching and losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from asyncio_loader.training.backbone import ResNetFPN
from asyncio_loader.training.box_loss import (
    BoxLoss,
    read_assigner,
    read_box_coder,
    read_box_loss,
    read_class_loss,
    read_nms,
    read_sampler,
)
from asyncio_loader.training.sections import Section

__all__ = ["ProposalNetwork", "StridedAnchors", "build_rpn"]


class StridedAnchors(AnchorGenerator):  # type: ignore[misc]
    """Anchors on a grid of the configured strides.

    torchvision divides the image's side by the map's, which gives 61 instead of 64 on the pooled level of an 800 pixel
    image. It also rounds an anchor's corners to whole pixels, where mmdet keeps fractions; centres and order are the
    same in both.
    """

    def __init__(self, strides: tuple[int, ...], scales: tuple[float, ...], ratios: tuple[float, ...]) -> None:
        super().__init__(
            sizes=tuple(tuple(stride * scale for scale in scales) for stride in strides),
            aspect_ratios=(ratios,) * len(strides),
        )
        self._strides = strides

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Per image the anchors of all levels, (A, 4) xyxy in pixels."""
        device = feature_maps[0].device
        self.set_cell_anchors(feature_maps[0].dtype, device)
        grids = [list(feature.shape[-2:]) for feature in feature_maps]
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in self._strides]
        anchors = torch.cat(self.grid_anchors(grids, strides))
        return [anchors for _ in image_list.image_sizes]


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's network with configured losses."""

    def __init__(self, *args: Any, box_loss: BoxLoss, class_weight: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._box_loss = box_loss
        self._class_weight = class_weight

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Class and box loss, both averaged over the sampled anchors of the batch."""
        positive, negative = (torch.cat(chosen).nonzero().squeeze(1) for chosen in self.fg_bg_sampler(labels))
        sampled = torch.cat([positive, negative])
        class_loss = F.binary_cross_entropy_with_logits(objectness.flatten()[sampled], torch.cat(labels)[sampled])
        box_loss = self._box_loss(pred_bbox_deltas[positive], torch.cat(regression_targets)[positive])
        return class_loss * self._class_weight, box_loss / max(sampled.numel(), 1)


def build_rpn(head: Section, train: Section, proposal: Section, test: Section, backbone: ResNetFPN) -> ProposalNetwork:
    """The `rpn_head`, with `train_cfg.rpn`, `train_cfg.rpn_proposal` and `test_cfg.rpn`.

    Raises:
        ConfigError: a key or value without a counterpart.
    """
    with head, train, proposal, test:
        anchors = _anchors(head.section("anchor_generator"), backbone)
        matcher = read_assigner(train.section("assigner"), low_quality=True)
        sampler = read_sampler(train.section("sampler"), adds_truth=False)
        threshold = _nms_threshold(proposal, test)
        network = ProposalNetwork(
            anchors,
            _head(head, anchors, backbone),
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            {"training": proposal.count("nms_pre", 2000), "testing": test.count("nms_pre", 1000)},
            {"training": proposal.count("max_per_img", 1000), "testing": test.count("max_per_img", 1000)},
            threshold,
            box_loss=read_box_loss(head.section("loss_bbox")),
            class_weight=read_class_loss(head.section("loss_cls"), sigmoid=True),
        )
        network.proposal_matcher = matcher
        network.box_coder = read_box_coder(head.section("bbox_coder"))
        # The least side in pixels; torchvision keeps what is as large, the dialect what is larger.
        network.min_size = max(test.number("min_bbox_size", 0.0), network.min_size)
        train.fixed("torchvision keeps anchors that cross the border", allowed_border=-1)
        train.fixed("torchvision weighs all samples alike", pos_weight=-1)
        train.ignore("debug")
    return network


def _head(head: Section, anchors: StridedAnchors, backbone: ResNetFPN) -> RPNHead:
    channels = backbone.out_channels
    head.choice("type", ["RPNHead"])
    head.fixed("this is the neck's out_channels", in_channels=channels)
    head.fixed("torchvision's RPN keeps the neck's out_channels", feat_channels=channels)
    head.fixed("torchvision's RPN has no other", num_classes=1, reg_decoded_bbox=False, init_cfg=None)
    return RPNHead(channels, anchors.num_anchors_per_location()[0], conv_depth=head.count("num_convs", 1, least=1))


def _anchors(generator: Section, backbone: ResNetFPN) -> StridedAnchors:
    with generator:
        generator.choice("type", ["AnchorGenerator"])
        generator.fixed(
            "torchvision's anchors have no other",
            base_sizes=None,
            scale_major=True,
            octave_base_scale=None,
            scales_per_octave=None,
            centers=None,
            center_offset=0.0,
        )
        strides = generator.numbers("strides")
        if len(strides) != backbone.level_count or any(s < 1 or s != int(s) for s in strides):
            raise generator.error("strides", f"must be {backbone.level_count} whole numbers, one per map of the neck")
        scales, ratios = generator.numbers("scales"), generator.numbers("ratios")
    return StridedAnchors(tuple(int(s) for s in strides), scales, ratios)


def _nms_threshold(proposal: Section, test: Section) -> float:
    threshold = read_nms(proposal.section("nms"))
    if read_nms(test.section("nms")) != threshold:
        raise test.error("nms", f"must have the iou_threshold of {proposal.at('nms')}: torchvision's RPN has one")
    if proposal.number("min_bbox_size", 0.0) != test.number("min_bbox_size", 0.0):
        raise test.error("min_bbox_size", f"must be that of {proposal.path}: torchvision's RPN has one")
    return threshold
