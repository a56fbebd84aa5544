"""The last step of a pipeline of mmdet 3.x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.formatting import to_chw_tensor, to_tensor
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks
from asyncio_loader.transforms.registry import TRANSFORMS
from asyncio_loader.transforms.structures import Structures, installed_structures

__all__ = ["PackDetInputs"]

_FIELDS = {"gt_bboxes": "bboxes", "gt_bboxes_labels": "labels", "gt_masks": "masks"}


@TRANSFORMS.register
@dataclass(eq=False)
class PackDetInputs:
    """Keep what a detector of mmdet 3.x takes: the image, and one object with all that is known of it.

    Gives `inputs`, the image as a tensor (c, h, w) of the dtype it has, uint8 where nothing normalized it, and
    `data_samples`, of a class that `installed_structures` picks, with

    * `gt_instances`: `bboxes` (n, 4) float32 tensor, x1, y1, x2, y2 in pixels, `labels` (n,) int64 tensor, `masks`;
      those of them that the sample has, and of no field at all if it has none;
    * `ignored_instances`: the same of the objects that are flagged in `gt_ignore_flags`;
    * `metainfo`: the facts about the image.

    mmdet wraps boxes in its own class, and takes tensors as well; so they are plain tensors here.

    Attributes:
        meta_keys: entries of the sample for `metainfo`. One that the sample does not have is left out.
    """

    meta_keys: Sequence[str] = (
        "img_id",
        "img_path",
        "ori_shape",
        "img_shape",
        "scale_factor",
        "flip",
        "flip_direction",
    )

    def __post_init__(self) -> None:
        # Imported now: in a thread of a running loader that would hold up all others.
        installed_structures()

    def __call__(self, results: Sample) -> Sample:
        """A new sample of `inputs` and `data_samples`.

        Raises:
            ConfigError: the sample is one of mmdet 2.x.
        """
        if "img_info" in results:
            raise ConfigError("PackDetInputs is mmdet 3.x's and the sample 2.x's: that ends in Collect")
        structures = installed_structures()
        given = results.get("gt_ignore_flags")
        flags = None if given is None else np.asarray(given, dtype=bool)
        sample = structures.sample(metainfo={key: results[key] for key in self.meta_keys if key in results})
        sample.gt_instances = _instances(structures, results, slice(None) if flags is None else ~flags)
        sample.ignored_instances = structures.instances() if flags is None else _instances(structures, results, flags)
        image = {"inputs": to_chw_tensor(results["img"])} if "img" in results else {}
        return {**image, "data_samples": sample}


def _instances(structures: Structures, results: Sample, chosen: slice | npt.NDArray[np.bool_]) -> Any:
    """The chosen objects, with those fields that the sample has."""
    fields = {name: results[key][chosen] for key, name in _FIELDS.items() if key in results}
    return structures.instances(**{name: _as_field(structures, value) for name, value in fields.items()})


def _as_field(structures: Structures, value: Any) -> Any:
    return structures.masks(value) if isinstance(value, BitmapMasks | PolygonMasks) else to_tensor(value)
