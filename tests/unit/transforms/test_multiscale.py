from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.multiscale import RandomChoiceResize, RandomResize

SCALES = [(80, 40), (40, 20), (20, 10)]


def sample(seed: int) -> dict[str, Any]:
    return {
        "img_path": "a.png",
        "img": np.zeros((20, 40, 3), dtype=np.uint8),
        "img_shape": (20, 40),
        "rng": np.random.default_rng(seed),
    }


def test_every_scale_is_chosen_and_named() -> None:
    resize = RandomChoiceResize(scales=SCALES, keep_ratio=True)
    outcomes = [resize(sample(seed)) for seed in range(30)]

    assert {0, 1, 2} == {outcome["scale_idx"] for outcome in outcomes}
    for outcome in outcomes:
        width, height = SCALES[outcome["scale_idx"]]
        assert ((width, height), (height, width), True) == (
            outcome["scale"],
            outcome["img_shape"],
            outcome["keep_ratio"],
        )


def test_a_choice_depends_on_the_generator_of_the_sample_alone() -> None:
    resize = RandomChoiceResize(scales=SCALES)

    assert [resize(sample(s))["scale_idx"] for s in range(9)] == [resize(sample(s))["scale_idx"] for s in range(9)]


def test_a_transform_of_the_users_own_may_resize_and_may_give_up() -> None:
    class Refuse:
        def __init__(self, scale: Any) -> None:
            self.scale = scale

        def __call__(self, results: dict[str, Any]) -> None:
            return None

    assert RandomChoiceResize(scales=SCALES, resize_type=Refuse)(sample(0)) is None


def test_edges_are_drawn_each_on_its_own_between_two_scales() -> None:
    resize = RandomResize(scale=[(100, 10), (103, 12)], keep_ratio=True)
    drawn = {resize(sample(seed))["scale"] for seed in range(200)}

    assert {(long, short) for long in range(100, 104) for short in range(10, 13)} == drawn


def test_a_ratio_makes_a_scale_larger_or_smaller() -> None:
    resize = RandomResize(scale=(100, 50), ratio_range=(0.5, 2.0))
    scales = [resize(sample(seed))["scale"] for seed in range(50)]

    assert all(50 <= width <= 200 and abs(height - width / 2) <= 1 for width, height in scales)
    assert len(set(scales)) > 10


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "RandomChoiceResize", "scales": []}, "scales must be a list of"),
        ({"type": "RandomChoiceResize", "scales": SCALES, "ratio": 1}, "unknown argument 'ratio'"),
        ({"type": "RandomResize", "scale": (8, 8)}, r"scale must be two \(width, height\), or one with a ratio_range"),
        ({"type": "RandomResize", "scale": SCALES}, "scale must be two"),
        ({"type": "RandomResize", "scale": (8, 8), "ratio_range": (2, 1)}, "ratio_range must be"),
        ({"type": "RandomResize", "scale": SCALES[:2], "resize_type": "Normalize"}, "unknown argument 'scale'"),
    ],
)
def test_wrong_arguments_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Compose([entry])


def test_the_repr_names_the_scales() -> None:
    assert "(80, 40)" in repr(RandomChoiceResize(scales=SCALES))
    assert "ratio_range=(1, 2)" in repr(RandomResize(scale=(8, 8), ratio_range=(1, 2)))
