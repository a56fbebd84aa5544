"""A pipeline: transforms one after the other on one sample."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from asyncio_loader.errors import ConfigError, LoaderError, TransformError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.registry import TRANSFORMS, Transform

__all__ = ["FUSE", "Compose", "MissingKeyError", "PipelineEntry", "apply", "rng_of"]

FUSE = "ASYNCIO_LOADER_FUSE"
"""Environment variable: 0 switches fusing off in every `Compose` that is not told by its argument, 1 is the default."""

PipelineEntry: TypeAlias = Mapping[str, Any] | Transform
"""``dict(type=name or class, **arguments)``, or a callable that is ready."""


class MissingKeyError(TransformError, KeyError):
    """A transform found a key missing from the sample. A `KeyError` too, because that is what mmdet raises."""

    # KeyError would show the message in quotes, as if it were the key.
    __str__ = Exception.__str__


def rng_of(results: Sample) -> np.random.Generator:
    """The generator that a transform draws from: the sample's own, which depends on (seed, epoch, position) alone.

    A sample that brings none, as in a pipeline run by hand, gets a fresh one that nobody can reproduce.
    """
    rng = results.get("rng")
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng()


class Compose:
    """Transforms one after the other; None from any of them gives the sample up and is returned.

    Picklable if its transforms are. It may be called from many threads at once if its transforms may; ours may.

    The sample's generator ``rng`` is put before every transform, also one that a transform dropped with the rest of
    the old dict, and is gone from what is returned, as are bytes that no transform decoded (`img_bytes`).

    `RandomFlip`, `Normalize`, `Pad` and `DefaultFormatBundle` next to each other, or some of them with `Normalize`, run
    as one stage that writes the image once (`asyncio_loader.transforms.fused`) and gives the same values to the last
    bit. `stages` and the repr show it.

    Args:
        transforms: entries of a config, or callables.
        place: what messages call the list.
        fuse: run what can be fused so; False: one transform after the other. None: as the environment variable
            ``ASYNCIO_LOADER_FUSE`` says, which also decides for pipelines inside of this one.

    Attributes:
        transforms: the transforms as they were given, one by one.

    Raises:
        ConfigError: an entry is neither, or names something unknown; the message tells which entry.
    """

    def __init__(
        self, transforms: Iterable[PipelineEntry], *, place: str = "pipeline", fuse: bool | None = None
    ) -> None:
        if isinstance(transforms, Mapping | str) or not isinstance(transforms, Iterable):
            raise ConfigError(f"{place} must be a list of transforms, not {transforms!r:.80}")
        self.transforms: list[Transform] = [_ready(entry, f"{place}[{i}]") for i, entry in enumerate(transforms)]
        self._fuses = _should_fuse() if fuse is None else fuse
        if not isinstance(self._fuses, bool):
            raise ConfigError(f"fuse must be True, False or None, not {fuse!r:.80}")
        self._compiled = self._compile()

    @property
    def stages(self) -> tuple[Transform, ...]:
        """What runs: the transforms, those that are fused as one `Fused`."""
        given, stages = self._compiled
        # Hooks of training repositories change the list while they train.
        if len(given) != len(self.transforms) or any(map(operator.is_not, given, self.transforms)):
            given, stages = self._compiled = self._compile()
        return stages

    def __call__(self, results: Sample) -> Sample | None:
        """Run the sample through. Takes `results` over: it is changed, and may be what is returned.

        Raises:
            LoaderError: as a transform raised it.
            TransformError: a transform raised anything else, which is its cause; names the transform and the image.
        """
        rng = results.get("rng")
        for transform in self.stages:
            if rng is not None:
                results["rng"] = rng
            outcome = apply(transform, results)
            if outcome is None:
                return None
            results = outcome
        results.pop("rng", None)
        results.pop("img_bytes", None)
        return results

    def __repr__(self) -> str:
        lines = [f"    {line}" for stage in self.stages for line in repr(stage).splitlines()]
        return "\n".join(["Compose(", *lines, ")"])

    def _compile(self) -> tuple[tuple[Transform, ...], tuple[Transform, ...]]:
        # Imported here, because the transforms that it knows import this module.
        from asyncio_loader.transforms.fused import fuse

        given = tuple(self.transforms)
        return given, fuse(given) if self._fuses else given


def _should_fuse() -> bool:
    value = os.environ.get(FUSE, "1").strip()
    if value not in ("0", "1"):
        raise ConfigError(f"{FUSE} must be 0 or 1, not {value!r:.80}")
    return value == "1"


def _ready(entry: PipelineEntry, place: str) -> Transform:
    if isinstance(entry, Mapping):
        transform = TRANSFORMS.build(entry, place=place)
    elif isinstance(entry, type):
        raise ConfigError(f"{place} is the class {entry.__name__}; write dict(type={entry.__name__}, …) or an instance")
    else:
        transform = entry
    if not callable(transform):
        raise ConfigError(f"{place} must be a dict with a 'type' or a callable, not {transform!r:.80}")
    ready: Transform = transform
    return ready


def apply(transform: Transform, results: Sample) -> Sample | None:
    """What the transform makes of the sample.

    Raises:
        LoaderError: as the transform raised it.
        TransformError: the transform raised anything else, which is its cause; names the transform and the image.
    """
    try:
        return transform(results)
    except LoaderError:
        raise
    except Exception as error:
        # As wide as it gets: a user's transform may raise anything, and whoever decides needs to know the image.
        name = getattr(transform, "__name__", type(transform).__name__)
        image = _image_name(results)
        # str() of a KeyError is the repr of its key.
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        message = f"{image or 'sample'}: {name} failed: {type(error).__name__}: {text}"
        kind = MissingKeyError if isinstance(error, KeyError) else TransformError
        raise kind(message, key=image, transform=name) from error


def _image_name(results: Sample) -> str | None:
    """Name of the sample's image as `LoadImageFromFile` makes it, be it before or after that ran."""
    name, info = results.get("filename", results.get("img_path")), results.get("img_info")
    if name is None and isinstance(info, Mapping) and "filename" in info:
        name = os.path.join(results.get("img_prefix") or "", info["filename"])
    return None if name is None else str(name)
