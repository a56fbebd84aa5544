from __future__ import annotations

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, DecodeError, LoaderError
from asyncio_loader.naming import named


def raise_named(name: str | None, error: Exception) -> None:
    with named(name):
        raise error


def test_the_name_comes_first_and_the_class_stays() -> None:
    with pytest.raises(AccessDenied, match=r"^c\.py: s3://b/k: no$") as caught:
        raise_named("c.py", AccessDenied("s3://b/k: no", key="s3://b/k", attempts=2, elapsed_s=0.5))

    assert (caught.value.key, caught.value.attempts, caught.value.elapsed_s) == ("s3://b/k", 2, 0.5)


def test_of_a_transform_the_cause_stays() -> None:
    refusal = DecodeError("s3://b/k: not an image", key="s3://b/k", transform="LoadImageFromFile")
    refusal.__cause__ = ValueError("no header")

    with pytest.raises(DecodeError, match=r"^c\.py: s3://b/k: not an image$") as caught:
        raise_named("c.py", refusal)

    assert (caught.value.key, caught.value.transform) == ("s3://b/k", "LoadImageFromFile")
    assert caught.value.__cause__ is refusal.__cause__


def test_a_name_is_said_once() -> None:
    with pytest.raises(ConfigError, match=r"^c\.py: wrong$"):
        raise_named("c.py", ConfigError("c.py: wrong"))


@pytest.mark.parametrize(("name", "error"), [(None, ConfigError("wrong")), ("c.py", LoaderError("full"))])
def test_other_errors_and_those_without_a_name_are_left_alone(name: str | None, error: Exception) -> None:
    with pytest.raises(LoaderError) as caught:
        raise_named(name, error)

    assert caught.value is error
