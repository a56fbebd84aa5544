"""The server's time, where this machine's is too wrong."""

from __future__ import annotations

import logging
import time

import pytest

from asyncio_loader.stores.s3 import clock as clock_module
from asyncio_loader.stores.s3.clock import MAX_OFFSET_S, ServerClock

NOW_S = 1_700_000_000.0
SERVER = "https://s3.test"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ServerClock:
    """One whose machine's time stands still, and that has told of nothing yet."""
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    monkeypatch.setattr(clock_module, "_told", set())
    return ServerClock(SERVER)


def test_this_machines_time_will_do_until_it_is_refused(clock: ServerClock) -> None:
    assert clock.now_s() == NOW_S


@pytest.mark.parametrize("offset_s", [3600.0, -7200.0, MAX_OFFSET_S])
def test_the_servers_date_corrects_it(clock: ServerClock, offset_s: float) -> None:
    assert clock.correct(0.0, NOW_S + offset_s)

    assert clock.now_s() == NOW_S + offset_s


@pytest.mark.parametrize("server_s", [None, NOW_S, NOW_S + 59, NOW_S + MAX_OFFSET_S + 1, NOW_S - MAX_OFFSET_S - 1, 0.0])
def test_what_tells_nothing_or_too_much_changes_nothing(clock: ServerClock, server_s: float | None) -> None:
    assert not clock.correct(0.0, server_s)

    assert clock.now_s() == NOW_S


def test_those_who_signed_before_the_correction_sign_anew(clock: ServerClock) -> None:
    clock.correct(0.0, NOW_S + 3600)

    assert clock.correct(0.0, None)
    assert clock.now_s() == NOW_S + 3600


def test_a_corrected_time_that_is_refused_is_not_corrected_to_the_same(clock: ServerClock) -> None:
    clock.correct(0.0, NOW_S + 3600)

    assert not clock.correct(clock.offset_s, NOW_S + 3601)


def test_a_clock_that_is_set_meanwhile_is_believed_again(clock: ServerClock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.correct(0.0, NOW_S + 3600)
    monkeypatch.setattr(time, "time", lambda: NOW_S + 3700)

    assert clock.correct(clock.offset_s, NOW_S + 3700)
    assert clock.now_s() == NOW_S + 3700


@pytest.mark.parametrize(("server_s", "is_refusable"), [(None, False), (NOW_S + 880, False), (NOW_S - 895, True)])
def test_only_a_date_far_away_makes_a_refusal_one_of_time(
    clock: ServerClock, server_s: float | None, is_refusable: bool
) -> None:
    assert clock.is_refusable(0.0, server_s) is is_refusable


def test_one_warning_says_how_wrong_the_clock_is(clock: ServerClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock.correct(0.0, NOW_S + 3600)
    ServerClock(SERVER).correct(0.0, NOW_S - 7200)

    warning, later = caplog.records
    assert (warning.levelname, later.levelname) == ("WARNING", "DEBUG")
    assert "clock is 3600 s behind that of https://s3.test" in warning.getMessage()
    assert "set the clock (NTP)" in warning.getMessage()
    assert "clock is 7200 s ahead of that of https://s3.test" in later.getMessage()
