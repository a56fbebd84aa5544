from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from asyncio_loader.arguments import add_storage, local_path, positive_count, positive_seconds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "²"])
def test_a_count_is_a_whole_number_of_at_least_1(text: str) -> None:
    assert positive_count("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of at least 1"):
        positive_count(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_are_finite_and_above_0(text: str) -> None:
    assert positive_seconds("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of seconds above 0"):
        positive_seconds(text)


@pytest.mark.parametrize("text", ["s3://bucket/x", "file:///tmp/x"])
def test_a_uri_is_no_path_of_this_machine(text: str) -> None:
    assert local_path("a/b.png") == Path("a/b.png")
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is a URI"):
        local_path(text)


def test_where_s3_is_may_be_left_to_the_environment() -> None:
    parser = argparse.ArgumentParser()
    add_storage(parser)

    assert vars(parser.parse_args([])) == {"endpoint_url": None, "region": None, "profile": None, "anonymous": False}
