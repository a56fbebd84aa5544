"""Names of the same tensors in the files of torchvision, mmdet and mmpretrain, and how to get from one to another.

The model of this project has torchvision's names. Nothing of a ResNet, its feature pyramid or its region proposals
differs but in name: anchors of a location are ordered by ratio, then scale, in both projects, and both keep the four
deltas of an anchor side by side. The box head's last layers differ in value, too: see `box_head`.

Boxes of mmdet before 2.0 were measured to the last pixel, not past it, which no change of weights can mend; mmdet's
own figures for converted files differ by less than 1 % AP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from asyncio_loader.training.weights.box_head import (
    has_background_first,
    to_background_first,
    to_background_last,
    with_background,
    without_background,
)

__all__ = ["Weight", "to_mmdet", "to_torchvision", "translate"]

# mmdet's name, torchvision's name. `#` is a number, `*` a weight or bias.
_NAMES = (
    ("neck.lateral_convs.#.conv.*", "backbone.fpn.inner_blocks.#.0.*"),
    ("neck.fpn_convs.#.conv.*", "backbone.fpn.layer_blocks.#.0.*"),
    ("rpn_head.rpn_cls.*", "rpn.head.cls_logits.*"),
    ("rpn_head.rpn_reg.*", "rpn.head.bbox_pred.*"),
    ("roi_head.bbox_head.shared_fcs.0.*", "roi_heads.box_head.fc6.*"),
    ("roi_head.bbox_head.shared_fcs.1.*", "roi_heads.box_head.fc7.*"),
    ("roi_head.bbox_head.fc_cls.*", "roi_heads.box_predictor.cls_score.*"),
    ("roi_head.bbox_head.fc_reg.*", "roi_heads.box_predictor.bbox_pred.*"),
)
_ONE_RPN_CONV = ("rpn_head.rpn_conv.*", "rpn.head.conv.0.0.*")
_RPN_CONVS = ("rpn_head.rpn_conv.#.conv.*", "rpn.head.conv.#.0.*")
# Names of torchvision before 0.13, which its published detectors still have.
_OLD_TORCHVISION = (
    ("backbone.fpn.inner_blocks.#.*", "backbone.fpn.inner_blocks.#.0.*"),
    ("backbone.fpn.layer_blocks.#.*", "backbone.fpn.layer_blocks.#.0.*"),
    ("rpn.head.conv.*", "rpn.head.conv.0.0.*"),
)
_OLD_BOX_HEAD = re.compile(r"bbox_head\.(?=(?:fc_cls|fc_reg|shared_fcs)\.)")
_RESNET = re.compile(r"backbone\.(?=(?:conv1|[bg]n1|layer[1-4])\.)")
_BODY = "backbone.body."
_GROUP_NORM = re.compile(r"(?<![^.])gn(?=[123]\.)")
_BATCH_NORM = re.compile(r"(?<![^.])bn(?=[123]\.)")
_CLASSES, _BOXES = "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"


class Weight(NamedTuple):
    """A tensor of a file in torchvision's layout, with the name and shape that it has in the file."""

    value: Tensor
    source: str
    shape: torch.Size


def translate(state: Mapping[str, Tensor]) -> dict[str, Weight]:
    """The tensors of a file by torchvision's names, in the order of the file.

    Known are detectors of torchvision (old and new names), of mmdet 1.x, 2.x and 3.x, and classifiers of mmpretrain,
    each also as DistributedDataParallel saves it. A name that is none of theirs stays. Left out are the averages that
    mmcv's EMAHook keeps as ``ema_…`` (the file has each parameter's under its own name already) and constants of a
    data preprocessor. Values are those of the file, not copies, except of a box head.
    """
    named = {_drop_wrapper(name): name for name in state}
    averages = {f"ema_{name.replace('.', '_')}" for name in named}
    renamed = {
        _to_torchvision_name(name): Weight(state[source], source, state[source].shape)
        for name, source in named.items()
        if name not in averages and not name.startswith("data_preprocessor.")
    }
    sources = [name for name in named if name.endswith(("fc_cls.weight", "fc_cls.bias"))]
    if sources:
        _reorder_box_head(renamed, has_old_names=any(_OLD_BOX_HEAD.match(name) for name in sources))
    return renamed


def to_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in the names and layout of torchvision's `FasterRCNN`, which are this project's: see `translate`."""
    return {name: weight.value for name, weight in translate(state).items()}


def to_mmdet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of this project's, or anything `translate` knows, in the names and layout of mmdet 2.x and 3.x.

    The inverse of `to_torchvision`, bit for bit, where the file had a box regressor of its own for every class. The
    background's rows of the box regressor, which nothing ever reads, are lost, and come back as zeros.
    """
    own = to_torchvision(state)
    rpn = _RPN_CONVS if "rpn.head.conv.1.0.weight" in own else _ONE_RPN_CONV
    has_group_norm = f"{_BODY}bn1.weight" in own and f"{_BODY}bn1.running_mean" not in own
    result = {}
    for name, value in own.items():
        layer = name.rpartition(".")[0]
        if layer == _CLASSES:
            value = to_background_last(value)
        elif layer == _BOXES:
            value = without_background(value)
        if has_group_norm and name.startswith(_BODY):
            name = _BATCH_NORM.sub("gn", name)
        result[_rename(name, ((new, old) for old, new in (*_NAMES, rpn)))] = value
    return {_drop_body(name): value for name, value in result.items()}


def _reorder_box_head(weights: dict[str, Weight], *, has_old_names: bool) -> None:
    for kind in ("weight", "bias"):
        classes, boxes = weights.get(f"{_CLASSES}.{kind}"), weights.get(f"{_BOXES}.{kind}")
        if classes is None:
            continue
        class_rows, box_rows = len(classes.value), len(boxes.value) if boxes else None
        if not has_background_first(class_rows, box_rows, has_old_names=has_old_names):
            weights[f"{_CLASSES}.{kind}"] = classes._replace(value=to_background_first(classes.value))
        if boxes:
            weights[f"{_BOXES}.{kind}"] = boxes._replace(value=with_background(boxes.value, class_rows))


def _drop_wrapper(name: str) -> str:
    """Without what DistributedDataParallel puts before every name."""
    return name.removeprefix("module.")


def _drop_body(name: str) -> str:
    return f"backbone.{name.removeprefix(_BODY)}" if name.startswith(_BODY) else name


def _to_torchvision_name(name: str) -> str:
    name = _OLD_BOX_HEAD.sub("roi_head.bbox_head.", name) if _OLD_BOX_HEAD.match(name) else name
    name = _RESNET.sub(_BODY, name) if _RESNET.match(name) else name
    name = _GROUP_NORM.sub("bn", name)
    return _rename(name, (*_NAMES, _ONE_RPN_CONV, _RPN_CONVS, *_OLD_TORCHVISION))


def _rename(name: str, table: Iterable[tuple[str, str]]) -> str:
    """The name by the first line of a table that it matches."""
    for old, new in table:
        pattern = re.escape(old).replace(r"\#", r"(?P<number>\d+)").replace(r"\*", "(?P<kind>weight|bias)")
        match = re.fullmatch(pattern, name)
        if match:
            fields = match.groupdict("")
            return new.replace("#", fields.get("number", "")).replace("*", fields["kind"])
    return name
