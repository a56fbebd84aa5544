"""`model.roi_head`: torchvision's box head over aligned regions, with the dialect's pooling, matching and losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

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

__all__ = ["BoxHead", "RegionPool", "build_roi_head"]


class RegionPool(nn.Module):
    """RoIAlign of each box on the map that fits its size.

    A box of sqrt(area) below ``2 * finest_scale`` pixels reads the finest map, each doubling the next coarser one (FPN
    paper, equation 1). Unlike torchvision's pooler it can align by half a pixel, as the dialect does by default.
    """

    def __init__(
        self, strides: tuple[int, ...], *, output_size: int, sampling_ratio: int, aligned: bool, finest_scale: float
    ) -> None:
        super().__init__()
        self._strides = strides
        self._output_size = output_size
        self._sampling_ratio = sampling_ratio
        self._aligned = aligned
        self._finest_scale = finest_scale

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: object) -> Tensor:
        """(R, C, `output_size`, `output_size`) for the R boxes of all images, in their order."""
        maps = list(features.values())[: len(self._strides)]
        rois = torch.cat([F.pad(b, (1, 0), value=float(image)) for image, b in enumerate(boxes)])
        sides = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).clamp(min=0).sqrt()
        levels = (sides / self._finest_scale + 1e-6).log2().floor().clamp(0, len(maps) - 1)
        pooled = maps[0].new_zeros((len(rois), maps[0].shape[1], self._output_size, self._output_size))
        for level, (feature, stride) in enumerate(zip(maps, self._strides, strict=True)):
            chosen = (levels == level).nonzero().squeeze(1)
            pooled[chosen] = roi_align(
                feature, rois[chosen], self._output_size, 1.0 / stride, self._sampling_ratio, self._aligned
            ).to(pooled.dtype)
        return pooled


class BoxHead(RoIHeads):  # type: ignore[misc]
    """torchvision's heads, boxes only, with configured losses."""

    def __init__(self, *args: Any, box_loss: BoxLoss, class_weight: float) -> None:
        super().__init__(*args)
        self._box_loss = box_loss
        self._class_weight = class_weight

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections (empty when training) and losses (empty otherwise)."""
        if self.training:
            proposals, _, labels, regression_targets = self.select_training_samples(proposals, targets)
        pooled = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        logits, deltas = self.box_predictor(pooled)
        if self.training:
            return [], self._losses(logits, deltas, torch.cat(labels), torch.cat(regression_targets))
        found = self.postprocess_detections(logits, deltas, proposals, image_shapes)
        return [{"boxes": b, "scores": s, "labels": k} for b, s, k in zip(*found, strict=True)], {}

    def _losses(self, logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Both averaged over all sampled boxes, positive or not; labels count from 1, 0 is background."""
        positive = (labels > 0).nonzero().squeeze(1)
        own = deltas.reshape(len(labels), -1, 4)[positive, labels[positive]]
        return {
            "loss_cls": F.cross_entropy(logits, labels) * self._class_weight,
            "loss_bbox": self._box_loss(own, targets[positive]) / max(len(labels), 1),
        }


def build_roi_head(roi: Section, train: Section, test: Section, backbone: ResNetFPN) -> tuple[BoxHead, int]:
    """The `roi_head`, with `train_cfg.rcnn` and `test_cfg.rcnn`; and the number of classes, without background.

    Raises:
        ConfigError: a key or value without a counterpart.
    """
    with roi, train, test, roi.section("bbox_head") as box:
        roi.choice("type", ["StandardRoIHead"])
        roi.fixed("a Faster R-CNN has none", mask_roi_extractor=None, mask_head=None, shared_head=None, init_cfg=None)
        pool, output_size = _pool(roi.section("bbox_roi_extractor"), backbone)
        class_count = box.count("num_classes", least=1)
        width = _check_box_head(box, backbone.out_channels, output_size)
        matcher = read_assigner(train.section("assigner"), low_quality=False)
        sampler = read_sampler(train.section("sampler"), adds_truth=True)
        head = BoxHead(
            pool,
            TwoMLPHead(backbone.out_channels * output_size**2, width),
            FastRCNNPredictor(width, class_count + 1),
            matcher.high_threshold,
            matcher.low_threshold,
            sampler.batch_size_per_image,
            sampler.positive_fraction,
            read_box_coder(box.section("bbox_coder")).weights,
            test.number("score_thr"),
            read_nms(test.section("nms")),
            test.count("max_per_img", least=1),
            box_loss=read_box_loss(box.section("loss_bbox")),
            class_weight=read_class_loss(box.section("loss_cls"), sigmoid=False),
        )
        head.proposal_matcher = matcher
        train.fixed("torchvision weighs all samples alike", pos_weight=-1)
        train.ignore("debug")
    return head, class_count


def _check_box_head(box: Section, channels: int, output_size: int) -> int:
    """Width of its two layers."""
    box.choice("type", ["Shared2FCBBoxHead"])
    box.fixed("this is the neck's out_channels", in_channels=channels)
    box.fixed("this is the output_size of the roi_layer", roi_feat_size=output_size)
    box.fixed(
        "torchvision's box head has no other",
        reg_class_agnostic=False,
        reg_decoded_bbox=False,
        with_avg_pool=False,
        with_cls=True,
        with_reg=True,
        conv_cfg=None,
        norm_cfg=None,
        init_cfg=None,
    )
    return box.count("fc_out_channels", 1024, least=1)


def _pool(extractor: Section, backbone: ResNetFPN) -> tuple[RegionPool, int]:
    with extractor, extractor.section("roi_layer") as layer:
        extractor.choice("type", ["SingleRoIExtractor"])
        extractor.fixed("this is the neck's out_channels", out_channels=backbone.out_channels)
        extractor.fixed("there is no other", init_cfg=None)
        layer.choice("type", ["RoIAlign"])
        layer.fixed("torchvision's RoIAlign averages", pool_mode="avg")
        # It only chose between two implementations of the same operation.
        layer.ignore("use_torchvision")
        output_size = layer.count("output_size", least=1)
        strides = extractor.numbers("featmap_strides")
        if len(strides) > backbone.level_count or any(s < 1 or s != int(s) for s in strides):
            raise extractor.error("featmap_strides", f"must be at most {backbone.level_count} whole numbers")
        pool = RegionPool(
            tuple(int(s) for s in strides),
            output_size=output_size,
            sampling_ratio=layer.count("sampling_ratio", 0),
            aligned=layer.flag("aligned", True),
            finest_scale=extractor.number("finest_scale", 56, least=1),
        )
    return pool, output_size
