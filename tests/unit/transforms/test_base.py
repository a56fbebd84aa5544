from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncio_loader.errors import ConfigError, DecodeError, TransformError
from asyncio_loader.transforms.base import Compose, MissingKeyError, rng_of

JPEG = cv2.imencode(".jpg", np.full((8, 12, 3), 90, np.uint8))[1].tobytes()


class Add:
    """A user's own transform."""

    def __init__(self, amount: int = 1) -> None:
        self.amount = amount

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        results["sum"] = results.get("sum", 0) + self.amount
        return results

    def __repr__(self) -> str:
        return f"Add(\n  amount={self.amount}\n)"


def fail_with(error: Exception) -> Any:
    def fail(results: dict[str, Any]) -> dict[str, Any]:
        raise error

    return fail


def test_transforms_run_in_order() -> None:
    pipeline = Compose([{"type": Add, "amount": 2}, Add(), lambda results: {"double": results["sum"] * 2}])

    assert {"double": 6} == pipeline({})


def test_none_gives_the_sample_up() -> None:
    assert Compose([lambda results: None, fail_with(AssertionError())])({}) is None


def test_the_generator_and_the_bytes_are_gone_at_the_end() -> None:
    assert {"sum": 1} == Compose([Add()])({"rng": np.random.default_rng(0), "img_bytes": b"x"})


def test_every_transform_finds_the_generator_even_behind_one_that_makes_a_new_dict() -> None:
    rng = np.random.default_rng(0)
    seen = []

    def look(results: dict[str, Any]) -> dict[str, Any]:
        seen.append(results["rng"])
        return {}

    assert {} == Compose([look, look])({"rng": rng})
    assert [rng, rng] == seen


def test_a_nested_pipeline_leaves_the_generator_to_the_outer_one() -> None:
    rng = np.random.default_rng(0)
    seen = []
    outer = Compose([Compose([Add()]), lambda results: seen.append(results["rng"]) or results])
    outer({"rng": rng})

    assert [rng] == seen


def test_a_sample_without_generator_draws_from_a_fresh_one() -> None:
    assert isinstance(rng_of({}), np.random.Generator)


def test_what_a_transform_raises_names_it_and_the_image() -> None:
    sample = {"img_info": {"filename": "a.jpg"}, "img_prefix": "s3://b/train"}
    with pytest.raises(TransformError, match=r"^s3://b/train/a\.jpg: fail failed: ValueError: no box$") as caught:
        Compose([fail_with(ValueError("no box"))])(sample)

    assert ("s3://b/train/a.jpg", "fail") == (caught.value.key, caught.value.transform)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_image_of_3x_is_named_by_its_path() -> None:
    with pytest.raises(TransformError, match=r"^s3://b/train/a\.jpg: fail failed: ValueError: no box$"):
        Compose([fail_with(ValueError("no box"))])({"img_path": "s3://b/train/a.jpg"})


def test_a_key_error_stays_one_and_reads_well() -> None:
    with pytest.raises(KeyError) as caught:
        Compose([lambda results: results["gt_bboxes"]])({})

    assert isinstance(caught.value, MissingKeyError)
    assert "sample: <lambda> failed: KeyError: gt_bboxes" == str(caught.value)


def test_errors_of_the_package_pass_as_they_are() -> None:
    error = DecodeError("a.jpg: cannot decode")
    with pytest.raises(DecodeError) as caught:
        Compose([fail_with(error)])({})

    assert error is caught.value


def test_an_interrupt_passes() -> None:
    def interrupt(results: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Compose([interrupt])({})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([Add(), {"type": "Rezise"}], r"^pipeline\[1\]: unknown transform 'Rezise'; did you mean 'Resize'\?$"),
        ([5], r"^pipeline\[0\] must be a dict with a 'type' or a callable, not 5$"),
        ([Add], r"^pipeline\[0\] is the class Add; write dict\(type=Add, …\) or an instance$"),
        ({"type": "Resize"}, r"^pipeline must be a list of transforms, not "),
        (None, r"^pipeline must be a list of transforms, not None$"),
    ],
)
def test_a_wrong_entry_is_named_with_its_place(entries: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Compose(entries)


def test_a_whole_pipeline_pickles_and_runs(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    pipeline = Compose([
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "img_scale": (24, 24)},
        {"type": "RandomFlip", "flip_ratio": 1.0},
        {"type": "Normalize", "mean": [90, 90, 90], "std": [1, 1, 1]},
        {"type": "Pad", "size_divisor": 32},
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": ["img"]},
    ])  # fmt: skip
    sample = {"img_info": {"filename": "a.jpg"}, "img_prefix": str(tmp_path)}
    pipeline({**sample})

    outcome = pickle.loads(pickle.dumps(pipeline))({**sample})

    assert outcome is not None
    assert (3, 32, 32) == tuple(outcome["img"].data.shape)


def test_its_repr_shows_every_transform() -> None:
    assert "Compose(\n    Add(\n      amount=2\n    )\n    Add(\n      amount=1\n    )\n)" == repr(
        Compose([Add(2), Add()])
    )
