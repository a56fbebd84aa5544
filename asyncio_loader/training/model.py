"""`model`: a Faster R-CNN of torchvision's parts that trains under mmengine's Runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.backbone import ResNetFPN, build_backbone
from asyncio_loader.training.preprocess import ImagePreprocessor, build_preprocessor
from asyncio_loader.training.roi import BoxHead, build_roi_head
from asyncio_loader.training.rpn import ProposalNetwork, build_rpn
from asyncio_loader.training.sections import Section

__all__ = ["FasterRCNN", "build_model", "pad_images", "to_original"]

Target = dict[str, Any]


class FasterRCNN(BaseModel):  # type: ignore[misc]
    """Faster R-CNN over batches of `collate_detection`.

    The pipeline has resized, normalized and padded the images already, and here they are only padded to one size; or a
    preprocessor normalizes and pads them on the device. Submodules and their parameters are named as in torchvision's
    `FasterRCNN`.

    Attributes:
        class_count: number of classes, background not counted.
    """

    def __init__(
        self,
        backbone: ResNetFPN,
        rpn: ProposalNetwork,
        roi_heads: BoxHead,
        *,
        class_count: int,
        preprocessor: ImagePreprocessor | None = None,
    ) -> None:
        super().__init__(data_preprocessor=preprocessor)
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.class_count = class_count

    def init_weights(self) -> None:
        """Nothing: the weights are there. mmengine would log hundreds of parameters that it left alone."""

    def forward(self, images: list[Tensor] | Tensor, targets: list[Target], mode: str = "loss") -> Any:
        """Losses or detections of a batch.

        Args:
            images: (3, H, W) float tensors; or (B, 3, H, W), which a preprocessor has padded.
            targets: one dict per image; read are ``img_shape``, to train ``boxes`` (N, 4) xyxy in pixels of the image
                and ``labels`` (N,) from 1, to predict ``scale_factor`` and ``flip``. Boxes without an area are left
                out: they have no logarithm.
            mode: ``"loss"`` in training mode, ``"predict"`` in evaluation mode.

        Returns:
            A dict of four scalar losses; or per image a dict of ``boxes`` (M, 4) xyxy in pixels of the original image,
            ``scores`` (M,) falling, ``labels`` (M,) of the dialect, from 0.
        """
        batch = pad_images(images, targets)
        features = self.backbone(batch.tensors)
        if mode == "loss":
            truth = [_truth(target) for target in targets]
            proposals, rpn_losses = self.rpn(batch, features, truth)
            _, losses = self.roi_heads(features, proposals, batch.image_sizes, truth)
            return {
                "loss_rpn_cls": rpn_losses["loss_objectness"],
                "loss_rpn_bbox": rpn_losses["loss_rpn_box_reg"],
                **losses,
            }
        proposals, _ = self.rpn(batch, features)
        detections, _ = self.roi_heads(features, proposals, batch.image_sizes)
        return [
            {"boxes": to_original(d["boxes"], t), "scores": d["scores"], "labels": d["labels"] - 1}
            for d, t in zip(detections, targets, strict=True)
        ]


def pad_images(images: list[Tensor] | Tensor, targets: list[Target]) -> ImageList:
    """Images of one batch, padded with 0 at the right and bottom to the largest height and width; one tensor as it is.

    The sizes that boxes are clipped to are those of ``img_shape``: what the pipeline has padded is no image.
    """
    sizes = [(int(t["img_shape"][0]), int(t["img_shape"][1])) for t in targets]
    if isinstance(images, Tensor):
        return ImageList(images, sizes)
    height = max(image.shape[-2] for image in images)
    width = max(image.shape[-1] for image in images)
    batch = images[0].new_zeros((len(images), images[0].shape[0], height, width))
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[-2], : image.shape[-1]] = image
    return ImageList(batch, sizes)


def to_original(boxes: Tensor, target: Target) -> Tensor:
    """Boxes (N, 4) xyxy of the image the model saw, in pixels of the original one: flipped back, then scaled back.

    Raises:
        ConfigError: nothing says how the image was scaled.
    """
    if "scale_factor" not in target:
        raise ConfigError(
            f"{target.get('filename')}: no scale_factor to lead boxes back to the original image: the test pipeline "
            "needs it among the meta_keys of Collect or PackDetInputs"
        )
    if target.get("flip"):
        height, width = target["img_shape"][:2]
        direction = target.get("flip_direction", "horizontal")
        x1, y1, x2, y2 = boxes.unbind(1)
        if direction in ("horizontal", "diagonal"):
            x1, x2 = width - x2, width - x1
        if direction in ("vertical", "diagonal"):
            y1, y2 = height - y2, height - y1
        boxes = torch.stack([x1, y1, x2, y2], dim=1)
    return boxes / torch.as_tensor(target["scale_factor"], dtype=boxes.dtype, device=boxes.device)


def _truth(target: Target) -> dict[str, Tensor]:
    if "boxes" not in target:
        raise ConfigError(
            f"{target.get('filename')}: no boxes to train on: the training pipeline needs LoadAnnotations, and Collect "
            "with 'gt_bboxes' and 'gt_labels', or PackDetInputs"
        )
    boxes, labels = target["boxes"], target["labels"]
    solid = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return {"boxes": boxes[solid], "labels": labels[solid]}


def build_model(
    model: Mapping[str, Any], *, trusted: Sequence[str] = (), s3_client: FileClient | None = None
) -> FasterRCNN:
    """The `model` dict of a config. `trusted`, `s3_client`: see `read_checkpoint`.

    Every key and value is either expressed exactly, or known to change nothing, or refused.

    Raises:
        ConfigError: a key or value that torchvision has no counterpart for; names its dotted path.
    """
    with Section(model, "model") as section:
        section.choice("type", ["FasterRCNN"])
        section.fixed("weights go to model.backbone.init_cfg", pretrained=None, init_cfg=None)
        with section.section("train_cfg") as train, section.section("test_cfg") as test:
            backbone = build_backbone(
                section.section("backbone"), section.section("neck"), trusted=trusted, s3_client=s3_client
            )
            proposal, test_rpn = train.section("rpn_proposal"), test.section("rpn")
            rpn = build_rpn(section.section("rpn_head"), train.section("rpn"), proposal, test_rpn, backbone)
            roi, rcnn = section.section("roi_head"), train.section("rcnn")
            roi_heads, class_count = build_roi_head(roi, rcnn, test.section("rcnn"), backbone)
        has_one = section.has("data_preprocessor")
        preprocessor = build_preprocessor(section.section("data_preprocessor")) if has_one else None
    return FasterRCNN(backbone, rpn, roi_heads, class_count=class_count, preprocessor=preprocessor)
