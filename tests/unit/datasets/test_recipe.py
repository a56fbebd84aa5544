from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.recipe import Made, Recipe, as_ref, is_rejected
from asyncio_loader.errors import ConfigError, DecodeError, ObjectNotFound, TooManyFailures, TransformError
from asyncio_loader.options import OnError
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef

URIS = [f"m://{n}" for n in range(10)]


def recipe(
    transform: Callable[[Fetched], Any] | None = None,
    on_error: OnError = "raise",
    on_void: OnError = "replace",
    **marks: bool,
) -> Recipe:
    order = range(len(URIS))
    return Recipe(refs=URIS, transform=transform, on_error=on_error, on_void=on_void, seed=0, order=order, **marks)


def fetched(n: int = 3) -> Fetched:
    return Fetched(ObjectRef(URIS[n]), b"data", position=n, index=n, epoch=1, attempts=2)


class Given:
    """Objects as a function gives them; remembers which were fetched a second time, and what was noted."""

    def __init__(self, give: Callable[[str], tuple[Buffer, int]]) -> None:
        self.give = give
        self.again: list[str] = []
        self.noted: list[Failed] = []

    def fetch(self, uri: str) -> tuple[Buffer, int]:
        return self.give(uri)

    def refetch(self, uri: str) -> tuple[Buffer, int]:
        self.again.append(uri)
        return self.give(uri)


def nothing() -> Given:
    def refuse(uri: str) -> tuple[Buffer, int]:
        raise AssertionError(f"{uri} was fetched")

    return Given(refuse)


def names() -> Given:
    return Given(lambda uri: (uri.encode(), 1))


def settle(plan: Recipe, made: Made | Failed, objects: Given) -> Made | None:
    return plan.settle(made, objects, objects.noted.append)


def test_without_a_transform_the_sample_is_what_was_fetched() -> None:
    assert recipe().make(fetched(), nothing()) == Made(fetched())


def test_the_transform_makes_the_sample() -> None:
    assert recipe(lambda f: len(f.data)).make(fetched(), nothing()) == Made(4)


def test_what_a_transform_raises_is_a_failed_sample_that_names_the_object() -> None:
    made = recipe(lambda f: 1 / 0).make(fetched(), nothing())

    assert isinstance(made, Failed)
    assert isinstance(made.error, TransformError)
    assert str(made.error) == "m://3 (sample 3): the transform raised ZeroDivisionError: division by zero"
    assert isinstance(made.error.__cause__, ZeroDivisionError)
    assert (made.position, made.epoch, made.attempts) == (3, 1, 2)


def test_a_decode_error_stays_what_it_is() -> None:
    def decode(fetched: Fetched) -> Any:
        raise DecodeError("m://3: not an image")

    made = recipe(decode).make(fetched(), names())

    assert isinstance(made, Failed)
    assert type(made.error) is DecodeError


def decode_whole(fetched: Fetched) -> bytes:
    if fetched.data == b"data":
        raise DecodeError(f"{fetched.ref.uri}: not an image", key=fetched.ref.uri)
    return bytes(fetched.data)


def test_what_cannot_be_decoded_is_fetched_once_more() -> None:
    objects = names()

    assert recipe(decode_whole).make(fetched(), objects) == Made(b"m://3")
    assert objects.again == ["m://3"]


def test_what_cannot_be_decoded_twice_has_failed() -> None:
    objects = Given(lambda uri: (b"data", 1))
    made = recipe(decode_whole).make(fetched(), objects)

    assert isinstance(made, Failed)
    assert type(made.error) is DecodeError
    assert (made.attempts, objects.again) == (3, ["m://3"])


def test_what_does_not_come_a_second_time_says_so_and_why_it_was_asked_for() -> None:
    def gone(uri: str) -> tuple[Buffer, int]:
        raise ObjectNotFound(f"{uri}: gone", attempts=1)

    made = recipe(decode_whole).make(fetched(), Given(gone))

    assert isinstance(made, Failed)
    assert type(made.error) is ObjectNotFound
    assert type(made.error.__cause__) is DecodeError
    assert made.attempts == 3


def test_a_substitute_that_cannot_be_decoded_is_fetched_once_more_too() -> None:
    answers = iter([b"data", b"whole"])
    objects = Given(lambda uri: (next(answers), 1))

    assert settle(recipe(decode_whole, on_error="replace"), failed(), objects) == Made(b"whole")
    assert len(objects.again) == 1


def test_another_failure_of_the_transform_is_not_fetched_again() -> None:
    def bug(fetched: Fetched) -> Any:
        raise KeyError("gt_bboxes")

    assert isinstance(recipe(bug).make(fetched(), nothing()), Failed)


def test_a_config_error_is_nobodys_failed_sample() -> None:
    def misconfigured(fetched: Fetched) -> Any:
        raise ConfigError("Resize.scale")

    with pytest.raises(ConfigError):
        recipe(misconfigured, on_error="skip").make(fetched(), nothing())


GONE = ObjectNotFound("m://3: no such object")


def failed() -> Failed:
    return Failed(ObjectRef("m://3"), GONE, position=3, index=3)


def test_raise_raises() -> None:
    with pytest.raises(ObjectNotFound, match="m://3"):
        settle(recipe(on_error="raise"), failed(), nothing())


def test_skip_gives_nothing() -> None:
    assert settle(recipe(on_error="skip"), failed(), nothing()) is None


def test_replace_gives_the_same_other_sample_every_time_in_the_same_place() -> None:
    stand_ins = {settle(recipe(on_error="replace"), failed(), names()).value.ref.uri for _ in range(3)}  # type: ignore[union-attr]

    made = settle(recipe(on_error="replace"), failed(), names())
    assert made is not None
    assert len(stand_ins) == 1
    assert made.value.position == 3
    assert made.value.data == made.value.ref.uri.encode()


@pytest.mark.parametrize("policy", ["raise", "skip", "replace"])
def test_what_failed_is_noted_once_however_many_substitutes_fail(policy: OnError) -> None:
    answers = iter([b"data", b"data", b"data", b"data", b"whole"])
    objects = Given(lambda uri: (next(answers), 1))
    try:
        settle(recipe(decode_whole, on_error=policy), failed(), objects)
    except ObjectNotFound:
        assert policy == "raise"

    assert objects.noted == [failed()]


def test_what_a_pipeline_does_not_want_is_not_noted() -> None:
    objects = names()
    settle(recipe(lambda f: f.index % 2 or None), rejected(), objects)

    assert objects.noted == []


def rejected() -> Made | Failed:
    made = recipe(lambda f: None).make(fetched(), nothing())
    assert isinstance(made, Failed)
    assert is_rejected(made)
    return made


def test_the_broken_substitute_of_what_a_pipeline_does_not_want_is_noted() -> None:
    answers = iter([b"data", b"data", b"whole"])
    objects = Given(lambda uri: (next(answers), 1))

    assert settle(recipe(decode_whole, on_error="replace"), rejected(), objects) == Made(b"whole")
    (noted,) = objects.noted
    assert type(noted.error) is DecodeError
    assert noted.position == 3


def stand_in(**options: Any) -> Fetched:
    made = settle(recipe(**options), failed(), names())
    assert made is not None
    value = made.value
    assert isinstance(value, Fetched)
    return value


def test_where_counts_must_be_equal_padding_stands_in_for_what_is_skipped() -> None:
    filled = stand_in(on_error="skip", fills_skipped=True)

    assert filled.is_padding
    assert (filled.position, filled.ref) == (3, stand_in(on_error="replace").ref)


def test_a_substitute_passes_for_a_sample_unless_samples_are_judged() -> None:
    assert not stand_in(on_error="replace", fills_skipped=True).is_padding
    assert stand_in(on_error="replace", marks_substitutes=True).is_padding


def test_what_a_pipeline_does_not_want_is_replaced_without_a_mark() -> None:
    plan = recipe(lambda f: f if f.index % 2 else None, on_error="skip", fills_skipped=True, marks_substitutes=True)
    made = settle(plan, rejected(), names())

    assert made is not None
    assert not made.value.is_padding


def test_a_substitute_that_fails_too_is_substituted() -> None:
    broken = []

    def first_one_broken(uri: str) -> tuple[Buffer, int]:
        if not broken:
            broken.append(uri)
            raise ObjectNotFound(f"{uri}: gone")
        return b"x", 1

    assert settle(recipe(on_error="replace"), failed(), Given(first_one_broken)) is not None
    assert broken


def test_when_no_substitute_can_be_had_it_says_so() -> None:
    def all_gone(uri: str) -> tuple[Buffer, int]:
        raise ObjectNotFound(f"{uri}: gone")

    with pytest.raises(TooManyFailures, match="m://3: no such object — and none of 10 substitutes"):
        settle(recipe(on_error="replace"), failed(), Given(all_gone))


def test_a_pipeline_that_returns_none_asks_for_another_sample() -> None:
    def only_even(fetched: Fetched) -> int | None:
        return None if fetched.index % 2 else fetched.index

    plan = recipe(only_even, on_error="raise")
    made = settle(plan, plan.make(fetched(3), nothing()), names())

    assert made is not None
    assert made.value % 2 == 0


def test_where_nothing_may_stand_in_a_none_is_an_error() -> None:
    plan = recipe(lambda f: None, on_void="raise")

    with pytest.raises(TransformError, match="m://3: the transform returned None in place of a sample"):
        settle(plan, plan.make(fetched(3), nothing()), nothing())


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
    made = plan.make(fetched(3), nothing())

    if policy == "skip":
        assert settle(plan, made, Given(gone)) is None
    else:
        with pytest.raises(ObjectNotFound, match="gone"):
            settle(plan, made, Given(gone))
