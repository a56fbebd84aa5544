from __future__ import annotations

import pytest

from asyncio_loader.engine.frames import without_frames
from asyncio_loader.errors import FetchError


def refuse() -> None:
    raise OSError("refused")


def lose() -> None:
    try:
        refuse()
    except OSError as error:
        raise ConnectionError("lost") from error


def fail() -> None:
    try:
        lose()
    except ConnectionError:
        raise FetchError("not there", key="a")  # noqa: B904


def test_an_error_forgets_where_it_was_raised_with_all_that_it_comes_from() -> None:
    with pytest.raises(FetchError) as caught:
        fail()
    error = caught.value
    lost = error.__context__
    assert lost is not None
    refused = lost.__cause__
    assert refused is not None
    refused.__context__ = error  # Some go round in circles.

    assert without_frames(error) is error

    assert [one.__traceback__ for one in (error, lost, refused)] == [None, None, None]
    assert (error.__context__, lost.__cause__) == (lost, refused)
    assert (str(error), error.key) == ("not there", "a")


def test_one_that_was_never_raised_passes_it_on() -> None:
    error = FetchError("not there")
    with pytest.raises(FetchError) as caught:
        fail()
    error.__cause__ = caught.value

    without_frames(error)

    assert caught.value.__traceback__ is None
