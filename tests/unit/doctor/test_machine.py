from __future__ import annotations

import math

import pytest

from asyncio_loader.doctor.machine import check_cores, check_files, judge_cores, judge_files


@pytest.mark.parametrize("quota", [None, 4.0, 8.0])
def test_cores_without_a_quota_below_them_are_well(quota: float | None) -> None:
    assert judge_cores(4, 4, quota, None).level == "ok"


def test_a_quota_below_the_cores_says_how_many_threads_heed_it_and_which_do_not() -> None:
    found = judge_cores(8, 3, 2.5, None)

    assert found.level == "warning"
    assert "the time of 2.5: a Loader has 3 threads unless told else, but torch begins 8, " in found.text
    assert found.advice.startswith("set OMP_NUM_THREADS=3 ")


@pytest.mark.parametrize(
    ("chosen", "level"), [("1", "ok"), ("3", "ok"), ("4", "warning"), ("0", "warning"), ("x", "warning")]
)
def test_what_was_chosen_for_torch_is_looked_at(chosen: str, level: str) -> None:
    assert judge_cores(8, 3, 2.5, chosen).level == level


def test_a_part_of_a_core_less_stops_nobody_for_long() -> None:
    assert judge_cores(4, 4, 3.5, None).level == "ok"


def test_a_quota_below_one_core_is_one_thread() -> None:
    assert "a Loader has 1 thread unless" in judge_cores(8, 1, 0.5, None).text


def test_enough_files_are_well() -> None:
    assert judge_files(1024, 4096, 10, 64).level == "ok"
    assert judge_files(math.inf, math.inf, 10, 64).level == "ok"


def test_fewer_files_than_connections_are_a_warning_with_the_command() -> None:
    found = judge_files(512, 65536, 10, 64)

    assert found.level == "warning"
    assert found.advice == "ulimit -n 4096, or set FetchOptions.max_in_flight=438"


def test_a_hard_limit_is_for_the_administrator() -> None:
    assert judge_files(512, 512, 10, 64).advice.startswith("raise the hard limit, which is 512 ")


def test_too_few_files_even_for_a_few_connections_are_a_failure() -> None:
    found = judge_files(100, 65536, 10, 64)

    assert (found.level, found.text) == ("failed", "100 may be open, 10 are; too few for 64 connections")


def test_this_machine_is_looked_at() -> None:
    assert "that this process may use" in check_cores().text or "may use the time of" in check_cores().text
    assert "may be open" in check_files(4).text
