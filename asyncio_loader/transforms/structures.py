"""What `PackDetInputs` puts the annotations into: the classes of mmdet 3.x and mmengine, or small ones like them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks

__all__ = ["DetDataSample", "InstanceData", "Structures", "installed_structures"]


class InstanceData:
    """What is known of each object of an image: attributes of one length, such as `bboxes`, `labels` and `masks`.

    Stands in for mmengine's class of that name where mmengine is not installed.
    """

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        # Python asks here for what is not there.
        raise AttributeError(f"no {name!r} among {', '.join(self.__dict__) or 'no fields'}")

    def __len__(self) -> int:
        return next((len(value) for value in self.__dict__.values()), 0)

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __repr__(self) -> str:
        return f"InstanceData({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def keys(self) -> list[str]:
        """Names of the fields."""
        return list(self.__dict__)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the fields."""
        return iter(self.__dict__.items())

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or `default`."""
        return self.__dict__.get(name, default)

    def to(self, *args: Any, **kwargs: Any) -> InstanceData:
        """A copy with every tensor moved by its own `to`; what has none is shared."""
        return InstanceData(**{name: _moved(value, *args, **kwargs) for name, value in self.items()})


class DetDataSample:
    """What is known of an image. Stands in for mmdet's class of that name where mmengine is not installed.

    Whatever `metainfo` holds is an attribute, too.

    Attributes:
        metainfo: facts about the image: `img_id`, `ori_shape`, `scale_factor` ….
        gt_instances: the objects to learn.
        ignored_instances: objects that count neither way, such as crowds.
    """

    metainfo: dict[str, Any]
    gt_instances: Any
    ignored_instances: Any

    def __init__(self, *, metainfo: Mapping[str, Any] | None = None) -> None:
        self.metainfo = dict(metainfo or {})

    def __getattr__(self, name: str) -> Any:
        known = self.__dict__.get("metainfo", {})
        if name in known:
            return known[name]
        raise AttributeError(f"no {name!r} in a sample of {', '.join((*self.__dict__, *known))}")

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__ or name in self.metainfo

    def __repr__(self) -> str:
        return f"DetDataSample({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return getattr(self, name, default)

    def set_metainfo(self, metainfo: Mapping[str, Any]) -> None:
        """Add to `metainfo`, or replace in it."""
        self.metainfo.update(metainfo)

    def to(self, *args: Any, **kwargs: Any) -> DetDataSample:
        """A copy with every tensor moved; see `InstanceData.to`."""
        moved = DetDataSample(metainfo=self.metainfo)
        moved.__dict__ |= {k: _moved(v, *args, **kwargs) for k, v in self.__dict__.items() if k != "metainfo"}
        return moved


def _moved(value: Any, *args: Any, **kwargs: Any) -> Any:
    return value.to(*args, **kwargs) if hasattr(value, "to") else value


@dataclass(frozen=True, slots=True)
class Structures:
    """The classes that samples are made of.

    Attributes:
        sample: called with `metainfo`; `gt_instances` and `ignored_instances` are set as attributes.
        instances: called with the fields.
        bitmaps: called with masks (n, height, width), height and width.
        polygons: called with lists of polygons, height and width.
    """

    sample: Callable[..., Any]
    instances: Callable[..., Any]
    bitmaps: Callable[..., Any] = BitmapMasks
    polygons: Callable[..., Any] = PolygonMasks

    def masks(self, masks: BitmapMasks | PolygonMasks) -> Any:
        """Masks in the class that the sample's model knows."""
        make, kind = (self.bitmaps, BitmapMasks) if isinstance(masks, BitmapMasks) else (self.polygons, PolygonMasks)
        return masks if make is kind else make(masks.masks, masks.height, masks.width)


@functools.cache
def installed_structures() -> Structures:
    """mmdet 3.x's where it can be imported, else mmengine's, else those of this module.

    mmengine's `BaseDataElement` takes the place of mmdet's `DetDataSample`, which is one: mmengine's data preprocessor
    moves it to the device, and its attributes have the same names. Importing either takes seconds, once per process.
    """
    try:
        from mmengine.structures import BaseDataElement
        from mmengine.structures import InstanceData as Instances
    except ImportError:
        return Structures(DetDataSample, InstanceData)
    try:
        from mmdet.structures import DetDataSample as Sample
        from mmdet.structures import mask
    except ImportError:
        # As well where it is there without the compiled operators that it imports.
        return Structures(BaseDataElement, Instances)
    return Structures(Sample, Instances, mask.BitmapMasks, mask.PolygonMasks)
