"""One image, several looks: test-time augmentation, and the shape of every mmdet 2.x test pipeline."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.base import Compose, PipelineEntry
from asyncio_loader.transforms.registry import TRANSFORMS
from asyncio_loader.transforms.scaling import as_scales

__all__ = ["MultiScaleFlipAug", "TestTimeAug"]


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

    @property
    def look_count(self) -> int:
        """Runs per sample."""
        return len(list(self._runs()))

    def __call__(self, results: Sample) -> Sample | None:
        """The lists of all runs; None if a transform gives any of them up."""
        return _gather(self.transforms({**results, **chosen}) for chosen in self._runs())

    def __repr__(self) -> str:
        inner = repr(self.transforms).replace("\n", "\n    ")
        flips = self.flip_directions if self.flip else []
        return f"MultiScaleFlipAug(\n    {self.scale_key}={self.scales}, flips={flips},\n    {inner}\n)"

    def _runs(self) -> Iterator[dict[str, Any]]:
        for scale in self.scales:
            yield {self.scale_key: scale, "flip": False, "flip_direction": None}
            for direction in self.flip_directions if self.flip else ():
                yield {self.scale_key: scale, "flip": True, "flip_direction": direction}


@TRANSFORMS.register
class TestTimeAug:
    """mmdet 3.x's: run the sample through every way to take one transform of each list; gives a dict of lists.

    The last list is gone through fastest: ``[[a, b], [c, d]]`` runs a-c, a-d, b-c, b-d. Every run gets a shallow copy
    of the sample.

    Args:
        transforms: lists of entries of a pipeline; none of them empty.

    Raises:
        ConfigError: `transforms` is no list of lists, or an entry is wrong.
    """

    # Not a test, whatever its name begins with.
    __test__ = False

    def __init__(self, transforms: Sequence[Sequence[PipelineEntry]]) -> None:
        if not _is_list(transforms) or not all(_is_list(choices) and choices for choices in transforms):
            raise ConfigError(f"transforms must be a list of lists of transforms, none empty, not {transforms!r:.80}")
        choices = [
            Compose(entries, place=f"transforms[{place}]").transforms for place, entries in enumerate(transforms)
        ]
        self.subroutines = [Compose(chosen) for chosen in itertools.product(*choices)]

    @property
    def look_count(self) -> int:
        """Runs per sample."""
        return len(self.subroutines)

    def __call__(self, results: Sample) -> Sample | None:
        """The lists of all runs; None if a transform gives any of them up."""
        return _gather(subroutine({**results}) for subroutine in self.subroutines)

    def __repr__(self) -> str:
        runs = ",\n".join(repr(subroutine) for subroutine in self.subroutines).replace("\n", "\n    ")
        return f"TestTimeAug(\n    {runs}\n)"


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _gather(outcomes: Iterable[Sample | None]) -> Sample | None:
    gathered: dict[str, list[Any]] = {}
    for outcome in outcomes:
        if outcome is None:
            return None
        for key, value in outcome.items():
            gathered.setdefault(key, []).append(value)
    return gathered


def _as_factors(scale_factor: Any) -> list[float]:
    factors = scale_factor if isinstance(scale_factor, list | tuple) else [scale_factor]
    for factor in factors:
        if not isinstance(factor, int | float) or isinstance(factor, bool) or factor <= 0:
            raise ConfigError(f"scale_factor must be a number above 0 or a list of them, not {scale_factor!r:.80}")
    return [float(factor) for factor in factors]
