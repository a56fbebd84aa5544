from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.sections import Section


def test_a_key_nobody_asked_for_is_an_error_that_says_which_was_meant() -> None:
    with (
        pytest.raises(
            ConfigError, match=r"^optimizer\.momentun=0\.9: there is no such key; did you mean 'momentum'\?$"
        ),
        Section({"momentun": 0.9}, "optimizer") as section,
    ):
        section.ignore("momentum")


def test_an_error_in_the_block_comes_before_unasked_keys() -> None:
    with pytest.raises(ConfigError, match=r"^a\.b=-1 must be"), Section({"b": -1, "x": 1}, "a") as section:
        section.count("b")


def test_missing_key_is_named_by_its_path() -> None:
    with pytest.raises(ConfigError, match=r"^model\.neck is missing$"):
        Section({}, "model").section("neck")


def test_something_else_than_a_dict_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.neck=3 must be a dict$"):
        Section({"neck": 3}, "model").section("neck")


def test_the_top_level_has_no_dot_before_its_keys() -> None:
    with pytest.raises(ConfigError, match=r"^runner is missing$"):
        Section({}).section("runner")


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda s: s.count("k"), -1),
        (lambda s: s.count("k"), True),
        (lambda s: s.count("k"), 1.5),
        (lambda s: s.number("k"), "1"),
        (lambda s: s.number("k"), float("nan")),
        (lambda s: s.number("k"), float("inf")),
        (lambda s: s.flag("k"), 1),
        (lambda s: s.text("k"), ""),
        (lambda s: s.numbers("k"), []),
        (lambda s: s.numbers("k", length=4), [1, 2, 3]),
        (lambda s: s.numbers("k"), ["1"]),
        (lambda s: s.choice("k", [1, 2]), 3),
        (lambda s: s.fixed("so it is", k=0), 1),
    ],
)
def test_wrong_values_are_named_with_their_path(read: Callable[[Section], Any], value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Section({"k": value}, "a.b"))

    assert str(caught.value).startswith(f"a.b.k={value!r} must be ")


def test_a_wrong_choice_says_which_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean 'nms'"):
        Section({"type": "mns"}, "a").choice("type", ["nms"])


def test_a_tuple_is_as_good_as_a_list() -> None:
    assert Section({"k": (1, 2)}, "a").choice("k", [[1, 2]]) == [1, 2]


def test_defaults_fill_in() -> None:
    section = Section({}, "a")

    assert (section.count("n", 3), section.flag("f", True), section.number("x", 0.5)) == (3, True, 0.5)
    assert section.choice("c", ["u", None], None) is None
    assert not section.has("n")
