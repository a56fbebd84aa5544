"""How mmdet 3.x draws the scale that a sample is resized to; in 2.x it is `Resize` itself that does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.base import rng_of
from asyncio_loader.transforms.geometric import Resize
from asyncio_loader.transforms.registry import TRANSFORMS
from asyncio_loader.transforms.scaling import is_pair

__all__ = ["RandomChoiceResize", "RandomResize"]


@TRANSFORMS.register
class RandomChoiceResize:
    """Resize a sample of mmdet 3.x to one of several scales, each as likely as the others; writes `scale_idx`, too.

    Args:
        scales: scales as `Resize` takes them.
        resize_type: name or class of the transform that resizes: `Resize`, or one that takes `scale` like it.
        resize_kwargs: its other arguments, such as `keep_ratio`.
    """

    def __init__(self, scales: Sequence[Any], resize_type: Any = "Resize", **resize_kwargs: Any) -> None:
        self.scales = [scales] if is_pair(scales) else list(scales)
        if not self.scales:
            raise ConfigError("scales must be a list of (width, height), not an empty one")
        entry = {"type": resize_type, **resize_kwargs}
        # One for each scale: setting the scale of a single one would be seen by other threads.
        self._resizes = [TRANSFORMS.build({**entry, "scale": scale}, place="scales") for scale in self.scales]

    def __call__(self, results: Sample) -> Sample | None:
        """Resize the sample."""
        index = int(rng_of(results).integers(len(self.scales)))
        outcome: Sample | None = self._resizes[index](results)
        if outcome is not None:
            outcome["scale_idx"] = index
        return outcome

    def __repr__(self) -> str:
        return f"RandomChoiceResize(scales={self.scales}, {self._resizes[0]!r})"


@TRANSFORMS.register
class RandomResize:
    """Resize a sample of mmdet 3.x to a scale drawn evenly from a range.

    Args:
        scale: two scales: the long and the short edge are drawn each on its own between the two, inclusive. Or one
            scale, which is multiplied by a ratio from `ratio_range`.
        ratio_range: (least, greatest).
        resize_type: `Resize`, by name.
        resize_kwargs: its other arguments, such as `keep_ratio`.
    """

    def __init__(
        self,
        scale: Sequence[Any],
        ratio_range: Sequence[float] | None = None,
        resize_type: str = "Resize",
        **resize_kwargs: Any,
    ) -> None:
        scales = [scale] if is_pair(scale) else list(scale)
        if not all(map(is_pair, scales)) or len(scales) != (2 if ratio_range is None else 1):
            raise ConfigError(f"scale must be two (width, height), or one with a ratio_range, not {scale!r:.80}")
        if ratio_range is not None and (not is_pair(ratio_range) or ratio_range[0] > ratio_range[1]):
            raise ConfigError(f"ratio_range must be (least, greatest), not {ratio_range!r:.80}")
        self.scales, self.ratio_range = scales, ratio_range
        self._resize = TRANSFORMS.build(
            {"type": resize_type, **resize_kwargs, "scale": scales[0]}, place="RandomResize"
        )
        if not isinstance(self._resize, Resize):
            raise ConfigError(f"resize_type must be 'Resize', not {resize_type!r:.80}")

    def __call__(self, results: Sample) -> Sample:
        """Resize the sample."""
        self._resize.to_scale(results, self._draw(rng_of(results)))
        return results

    def __repr__(self) -> str:
        return f"RandomResize(scale={self.scales}, ratio_range={self.ratio_range}, {self._resize!r})"

    def _draw(self, rng: np.random.Generator) -> tuple[int, int]:
        if self.ratio_range is not None:
            ratio = rng.uniform(self.ratio_range[0], self.ratio_range[1])
            return int(self.scales[0][0] * ratio), int(self.scales[0][1] * ratio)
        edges = ([max(scale) for scale in self.scales], [min(scale) for scale in self.scales])
        long_edge, short_edge = (int(rng.integers(min(pair), max(pair), endpoint=True)) for pair in edges)
        return long_edge, short_edge
