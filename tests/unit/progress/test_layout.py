from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.progress.layout import Field, fit_row, whole_row

FIELDS = [
    Field(3, ("a long name", "name")),
    Field(1, ("34%",)),
    Field(2, ("212 img/s",)),
]


def test_what_there_is_room_for_stands_in_its_order() -> None:
    assert fit_row(FIELDS, 80) == "a long name  34%  212 img/s"


def test_a_shorter_form_comes_before_leaving_out() -> None:
    assert fit_row(FIELDS, 26) == "name  34%  212 img/s"


def test_the_highest_rank_goes_first() -> None:
    assert fit_row(FIELDS, 19) == "34%  212 img/s"
    assert fit_row(FIELDS, 13) == "34%"


def test_the_last_one_is_cut_off() -> None:
    assert fit_row(FIELDS, 2) == "34"
    assert fit_row(FIELDS, 0) == ""


def test_a_field_without_a_form_is_not_there() -> None:
    assert fit_row([Field(1, ()), Field(2, ("x",))], 10) == "x"
    assert fit_row([], 10) == ""


def test_a_log_has_all_of_it() -> None:
    assert whole_row([*FIELDS, Field(9, ())]) == "a long name: 34%, 212 img/s"


@given(
    st.lists(st.builds(Field, st.integers(0, 9), st.lists(st.text(max_size=9), max_size=3).map(tuple)), max_size=8),
    st.integers(-1, 60),
)
def test_it_is_never_wider_than_the_terminal(fields: list[Field], width: int) -> None:
    assert len(fit_row(fields, width)) <= max(0, width)
