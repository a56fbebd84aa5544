"""One image, several looks: test-time augmentation, and the shape of every mmdet 2.x test pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.base import Compose, PipelineEntry
from asyncio_loader.transforms.registry import TRANSFORMS
from asyncio_loader.transforms.scaling import as_scales

__all__ = ["MultiScaleFlipAug"]


@TRANSFORMS.register
class MultiScaleFlipAug:
    """Run the sample through the same transforms once per scale and flip; gives a dict of lists, one item per run.

    The runs go scale by scale, each unflipped first. Every run gets a shallow copy of the sample with `scale` or
    `scale_factor`, `flip` and `flip_direction` set, which `Resize` and `RandomFlip` obey.

    Args:
        transforms: entries of a pipeline.
        img_scale: (long edge, short edge), or a list of them; see `Resize`.
        scale_factor: a factor, or a list of them, instead of `img_scale`.
        flip: run flipped, too.
        flip_direction: ``horizontal``, ``vertical``, ``diagonal``, or a list of them.

    Raises:
        ConfigError: not exactly one of `img_scale` and `scale_factor` is given, or an entry is wrong.
    """

    def __init__(
        self,
        transforms: Iterable[PipelineEntry],
        img_scale: Any = None,
        scale_factor: float | list[float] | None = None,
        flip: bool = False,
        flip_direction: str | list[str] = "horizontal",
    ) -> None:
        if (img_scale is None) == (scale_factor is None):
            raise ConfigError(f"give img_scale or scale_factor, not {img_scale!r:.80} and {scale_factor!r:.80}")
        self.transforms = Compose(transforms, place="transforms")
        self.scales: list[Any] = as_scales(img_scale) if scale_factor is None else _as_factors(scale_factor)
        self.scale_key = "scale" if scale_factor is None else "scale_factor"
        self.flip = flip
        self.flip_directions = [flip_direction] if isinstance(flip_direction, str) else list(flip_direction)

    def __call__(self, results: Sample) -> Sample | None:
        """The lists of all runs; None if a transform gives any of them up."""
        gathered: dict[str, list[Any]] = {}
        for chosen in self._runs():
            outcome = self.transforms({**results, **chosen})
            if outcome is None:
                return None
            for key, value in outcome.items():
                gathered.setdefault(key, []).append(value)
        return gathered

    def __repr__(self) -> str:
        inner = repr(self.transforms).replace("\n", "\n    ")
        flips = self.flip_directions if self.flip else []
        return f"MultiScaleFlipAug(\n    {self.scale_key}={self.scales}, flips={flips},\n    {inner}\n)"

    def _runs(self) -> Iterator[dict[str, Any]]:
        for scale in self.scales:
            yield {self.scale_key: scale, "flip": False, "flip_direction": None}
            for direction in self.flip_directions if self.flip else ():
                yield {self.scale_key: scale, "flip": True, "flip_direction": direction}


def _as_factors(scale_factor: Any) -> list[float]:
    factors = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor]
    for factor in factors:
        if not isinstance(factor, int | float) or isinstance(factor, bool) or factor <= 0:
            raise ConfigError(f"scale_factor must be a number above 0 or a list of them, not {scale_factor!r:.80}")
    return [float(factor) for factor in factors]
