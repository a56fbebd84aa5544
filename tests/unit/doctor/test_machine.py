from __future__ import annotations

import math

import pytest

from asyncio_loader.doctor.machine import check_cores, check_files, judge_cores, judge_files


@pytest.mark.parametrize("quota", [None, 4.0, 8.0])
def test_cores_without_a_quota_below_them_are_well(quota: float | None) -> None:
    assert judge_cores(4, quota).level == "ok"


def test_a_quota_below_the_cores_says_how_many_threads_it_feeds() -> None:
    found = judge_cores(8, 2.5)

    assert found.level == "warning"
    assert "the time of 2.5" in found.text
    assert "threads=2 " in found.advice


def test_a_quota_below_one_core_is_one_thread() -> None:
    assert "threads=1 " in judge_cores(8, 0.5).advice


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
