from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.tta import MultiScaleFlipAug, TestTimeAug

RESIZE_AND_FLIP = [{"type": "Resize", "keep_ratio": True}, {"type": "RandomFlip"}]


def look(results: dict[str, Any]) -> dict[str, Any]:
    return {key: results.get(key) for key in ("scale", "scale_factor", "flip", "flip_direction")}


def sample() -> dict[str, Any]:
    return {"img": np.zeros((20, 40, 3), np.uint8), "img_shape": (20, 40, 3), "img_fields": ["img"]}


def test_every_scale_runs_unflipped_first_and_then_in_every_direction() -> None:
    aug = MultiScaleFlipAug([look], img_scale=[(4, 2), (8, 4)], flip=True, flip_direction=["horizontal", "vertical"])
    outcome = aug({})

    assert outcome is not None
    assert [(4, 2)] * 3 + [(8, 4)] * 3 == outcome["scale"]
    assert [None, "horizontal", "vertical"] * 2 == outcome["flip_direction"]
    assert [False, True, True] * 2 == outcome["flip"]


def test_factors_may_stand_for_scales() -> None:
    outcome = MultiScaleFlipAug([look], scale_factor=[0.5, 2])({})

    assert outcome is not None
    assert ([0.5, 2.0], [None, None]) == (outcome["scale_factor"], outcome["scale"])


def test_resize_and_flip_obey() -> None:
    outcome = MultiScaleFlipAug(RESIZE_AND_FLIP, img_scale=(80, 80), flip=True)(sample())

    assert outcome is not None
    assert [(40, 80, 3), (40, 80, 3)] == outcome["img_shape"]


def test_the_runs_do_not_disturb_each_other() -> None:
    before = sample()
    MultiScaleFlipAug(RESIZE_AND_FLIP, img_scale=(80, 80), flip=True)(before)

    assert (20, 40, 3) == before["img"].shape
    assert "flip" not in before


def test_the_generator_reaches_every_run_and_no_result() -> None:
    rng = np.random.default_rng(0)
    seen = []
    pipeline = Compose([
        MultiScaleFlipAug([lambda results: seen.append(results["rng"]) or results], img_scale=(4, 2), flip=True),
        lambda results: seen.append(results["rng"]) or results,
    ])  # fmt: skip
    outcome = pipeline({"rng": rng, "a": 1})

    assert [rng] * 3 == seen
    assert outcome is not None
    assert ["a", "scale", "flip", "flip_direction"] == list(outcome)


def test_none_gives_the_sample_up() -> None:
    assert MultiScaleFlipAug([lambda results: None], img_scale=(4, 2))({}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give img_scale or scale_factor, not None and None"),
        ({"img_scale": (4, 2), "scale_factor": 1.0}, "give img_scale or scale_factor, not"),
        ({"img_scale": 4}, "img_scale must be"),
        ({"scale_factor": 0}, "scale_factor must be a number above 0"),
        ({"scale_factor": ["a"]}, "scale_factor must be a number above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MultiScaleFlipAug([look], **arguments)


def test_a_wrong_entry_is_named_with_both_places() -> None:
    entry = {"type": "MultiScaleFlipAug", "img_scale": (4, 2), "transforms": [{"type": "Rezise"}]}
    message = (
        r"^pipeline\[0\] \(MultiScaleFlipAug\): transforms\[0\]: unknown transform 'Rezise'; did you mean 'Resize'"
    )
    with pytest.raises(ConfigError, match=message):
        Compose([entry])


def test_it_pickles_and_shows_what_it_does() -> None:
    aug = pickle.loads(pickle.dumps(MultiScaleFlipAug(RESIZE_AND_FLIP, img_scale=(80, 80), flip=True)))

    assert "MultiScaleFlipAug(\n    scale=[(80, 80)], flips=['horizontal'],\n    Compose(\n        Resize(" in repr(aug)


def mark(letter: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda results: {**results, "way": results.get("way", "") + letter}


def test_one_of_each_list_runs_and_the_last_list_is_gone_through_fastest() -> None:
    outcome = TestTimeAug([[mark("a"), mark("b")], [mark("c"), mark("d")], [mark("e")]])({"key": 1})

    assert outcome == {"key": [1] * 4, "way": ["ace", "ade", "bce", "bde"]}


def test_looks_are_counted() -> None:
    assert TestTimeAug([[mark("a"), mark("b")], [mark("c"), mark("d")], [mark("e")]]).look_count == 4
    assert MultiScaleFlipAug([look], img_scale=[(4, 2), (8, 4)], flip=True).look_count == 4
    assert MultiScaleFlipAug([look], img_scale=(4, 2)).look_count == 1


def test_the_ways_do_not_disturb_each_other() -> None:
    before = {**sample(), "img_path": "a.jpg", "img_shape": (20, 40)}
    resize = [{"type": "Resize", "scale": scale, "keep_ratio": True} for scale in ((80, 80), (20, 20))]
    flips = [{"type": "RandomFlip", "prob": prob} for prob in (0.0, 1.0)]

    outcome = TestTimeAug([resize, flips])(before)

    assert outcome is not None
    assert [(40, 80), (40, 80), (10, 20), (10, 20)] == outcome["img_shape"]
    assert [False, True, False, True] == outcome["flip"]
    assert (20, 40, 3) == before["img"].shape


def test_none_in_one_way_gives_the_sample_up() -> None:
    assert TestTimeAug([[mark("a"), lambda results: None]])({}) is None


@pytest.mark.parametrize("transforms", [None, {"type": "Resize"}, [mark("a")], [[mark("a")], []]])
def test_transforms_are_lists_of_lists(transforms: Any) -> None:
    with pytest.raises(ConfigError, match="transforms must be a list of lists of transforms, none empty, not"):
        TestTimeAug(transforms)


def test_a_wrong_entry_of_a_list_is_named_with_its_places() -> None:
    pack = {"type": "PackDetInputs"}
    message = r"^pipeline\[0\] \(TestTimeAug\): transforms\[1\]\[1\]: unknown transform 'Flop'"
    with pytest.raises(ConfigError, match=message):
        Compose([{"type": "TestTimeAug", "transforms": [[pack], [pack, {"type": "Flop"}]]}])


def test_its_ways_pickle_and_show() -> None:
    aug = pickle.loads(pickle.dumps(TestTimeAug([[{"type": "RandomFlip", "prob": 0.0}, {"type": "PackDetInputs"}]])))

    assert repr(aug).startswith("TestTimeAug(\n    Compose(\n        RandomFlip(")
    assert repr(aug).count("Compose(") == 2
