from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.recipe import Made, Recipe, as_ref
from asyncio_loader.errors import ConfigError, DecodeError, ObjectNotFound, TooManyFailures, TransformError
from asyncio_loader.options import OnError
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef

URIS = [f"m://{n}" for n in range(10)]


def recipe(
    transform: Callable[[Fetched], Any] | None = None, on_error: OnError = "raise", on_void: OnError = "replace"
) -> Recipe:
    return Recipe(refs=URIS, transform=transform, on_error=on_error, on_void=on_void, seed=0, order=range(len(URIS)))


def fetched(n: int = 3) -> Fetched:
    return Fetched(ObjectRef(URIS[n]), b"data", position=n, index=n, epoch=1, attempts=2)


def fetch_nothing(uri: str) -> tuple[Buffer, int]:
    raise AssertionError(f"{uri} was fetched")


def fetch_its_name(uri: str) -> tuple[Buffer, int]:
    return uri.encode(), 1


def test_without_a_transform_the_sample_is_what_was_fetched() -> None:
    assert recipe().make(fetched()) == Made(fetched())


def test_the_transform_makes_the_sample() -> None:
    assert recipe(lambda f: len(f.data)).make(fetched()) == Made(4)


def test_what_a_transform_raises_is_a_failed_sample_that_names_the_object() -> None:
    made = recipe(lambda f: 1 / 0).make(fetched())

    assert isinstance(made, Failed)
    assert isinstance(made.error, TransformError)
    assert str(made.error) == "m://3 (sample 3): the transform raised ZeroDivisionError: division by zero"
    assert isinstance(made.error.__cause__, ZeroDivisionError)
    assert (made.position, made.epoch, made.attempts) == (3, 1, 2)


def test_a_decode_error_stays_what_it_is() -> None:
    def decode(fetched: Fetched) -> Any:
        raise DecodeError("m://3: not an image")

    made = recipe(decode).make(fetched())

    assert isinstance(made, Failed)
    assert type(made.error) is DecodeError


def test_a_config_error_is_nobodys_failed_sample() -> None:
    def misconfigured(fetched: Fetched) -> Any:
        raise ConfigError("Resize.scale")

    with pytest.raises(ConfigError):
        recipe(misconfigured, on_error="skip").make(fetched())


def failed(n: int = 3) -> Failed:
    return Failed(ObjectRef(URIS[n]), ObjectNotFound(f"{URIS[n]}: no such object"), position=n, index=n)


def test_raise_raises() -> None:
    with pytest.raises(ObjectNotFound, match="m://3"):
        recipe(on_error="raise").settle(failed(), fetch_nothing)


def test_skip_gives_nothing() -> None:
    assert recipe(on_error="skip").settle(failed(), fetch_nothing) is None


def test_replace_gives_the_same_other_sample_every_time_in_the_same_place() -> None:
    stand_ins = {recipe(on_error="replace").settle(failed(), fetch_its_name).value.ref.uri for _ in range(3)}  # type: ignore[union-attr]

    made = recipe(on_error="replace").settle(failed(), fetch_its_name)
    assert made is not None
    assert len(stand_ins) == 1
    assert made.value.position == 3
    assert made.value.data == made.value.ref.uri.encode()


def test_a_substitute_that_fails_too_is_substituted() -> None:
    broken = []

    def first_one_broken(uri: str) -> tuple[Buffer, int]:
        if not broken:
            broken.append(uri)
            raise ObjectNotFound(f"{uri}: gone")
        return b"x", 1

    assert recipe(on_error="replace").settle(failed(), first_one_broken) is not None
    assert broken


def test_when_no_substitute_can_be_had_it_says_so() -> None:
    def all_gone(uri: str) -> tuple[Buffer, int]:
        raise ObjectNotFound(f"{uri}: gone")

    with pytest.raises(TooManyFailures, match="m://3: no such object — and none of 10 substitutes"):
        recipe(on_error="replace").settle(failed(), all_gone)


def test_a_pipeline_that_returns_none_asks_for_another_sample() -> None:
    def only_even(fetched: Fetched) -> int | None:
        return None if fetched.index % 2 else fetched.index

    plan = recipe(only_even, on_error="raise")
    made = plan.settle(plan.make(fetched(3)), fetch_its_name)

    assert made is not None
    assert made.value % 2 == 0


def test_where_nothing_may_stand_in_a_none_is_an_error() -> None:
    plan = recipe(lambda f: None, on_void="raise")

    with pytest.raises(TransformError, match="m://3: the pipeline returned None"):
        plan.settle(plan.make(fetched(3)), fetch_nothing)


@pytest.mark.parametrize("item", ["s3://b/k", Path("s3:/b/k"), ObjectRef("s3://b/k", 5)])
def test_refs_may_be_strings_paths_or_refs(item: Any) -> None:
    assert isinstance(as_ref(item), ObjectRef)


def test_anything_else_is_refused_with_its_type() -> None:
    with pytest.raises(ConfigError, match="not int: 3"):
        as_ref(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_broken_substitute_of_a_void_sample_is_treated_by_the_policy(policy: OnError) -> None:
    def gone(uri: str) -> tuple[Buffer, int]:
        raise ObjectNotFound(f"{uri}: gone")

    plan = recipe(lambda f: None, on_error=policy)
    made = plan.make(fetched(3))

    if policy == "skip":
        assert plan.settle(made, gone) is None
    else:
        with pytest.raises(ObjectNotFound, match="gone"):
            plan.settle(made, gone)
