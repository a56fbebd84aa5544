"""What `PackDetInputs` made, as torchvision's detection models take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.formatting import to_tensor

__all__ = ["unpack"]

_FIELDS = {"bboxes": "boxes", "labels": "labels", "masks": "masks"}


def unpack(sample: Sample) -> dict[str, Any]:
    """Image and target of one packed sample, in one dict.

    Args:
        sample: `inputs` and `data_samples`, as `PackDetInputs` gives them, or lists of one of each (`TestTimeAug`).

    Returns:
        `img` (c, h, w), as it is; of the objects `boxes` (n, 4) float32 xyxy, `labels` (n,) int64, the dialect's
        label + 1, `masks` (n, h, w) uint8, what the sample has of them; `boxes_ignore` (k, 4) where objects are
        flagged or could be; whatever `metainfo` holds, under its own name, but `scale_factor` four floats, one for each
        number of a box, as in 2.x; `filename`, the `img_path`; `img_shape` in any case, and `scale_factor` of an image
        that has kept its size.

    Raises:
        ConfigError: the sample has no image, or was looked at several times.
    """
    if isinstance(sample["data_samples"], list):
        sample = {key: _only_look(looks) for key, looks in sample.items()}
    packed = sample["data_samples"]
    if "inputs" not in sample:
        raise ConfigError("PackDetInputs found no image: the pipeline needs LoadImageFromFile")
    target = {"img": sample["inputs"], **_facts(packed.metainfo, sample["inputs"].shape[-2:])}
    objects = packed.gt_instances
    target |= {name: _converted(field, objects.get(field)) for field, name in _FIELDS.items() if field in objects}
    if "bboxes" in packed.ignored_instances:
        target["boxes_ignore"] = _converted("bboxes", packed.ignored_instances.get("bboxes"))
    return target


def _only_look(looks: Sequence[Any]) -> Any:
    if len(looks) != 1:
        raise ConfigError(
            f"a detector takes one look at each image, but TestTimeAug gives {len(looks)}: give it lists of one"
        )
    return looks[0]


def _facts(metainfo: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """`metainfo` in the forms of 2.x; of an image of this height and width."""
    facts = {"img_shape": tuple(size), **metainfo}
    if "img_path" in facts:
        facts["filename"] = facts["img_path"]
    if "scale_factor" in facts:
        # (width, height): a box has two of each.
        facts["scale_factor"] = (*facts["scale_factor"], *facts["scale_factor"])
    elif facts.get("ori_shape") == facts["img_shape"]:
        # A pipeline without Resize.
        facts["scale_factor"] = (1.0, 1.0, 1.0, 1.0)
    return facts


def _converted(field: str, value: Any) -> Any:
    if field == "bboxes":
        return to_tensor(value).float().reshape(-1, 4)
    return to_tensor(value).long() + 1 if field == "labels" else to_tensor(value.to_ndarray())
