from __future__ import annotations

import pytest

from asyncio_loader.doctor import service
from asyncio_loader.doctor.service import judge_clock
from asyncio_loader.stores.s3.inspection import Identity


@pytest.mark.parametrize(
    ("skew_s", "level", "text"),
    [
        (None, "ok", "the server does not tell its time (no Date)"),
        (-2.0, "ok", "as the server's, to a few seconds"),
        (90.0, "warning", "this machine is 90 seconds behind the server"),
        (-600.0, "warning", "this machine is 10 minutes ahead of the server"),
        (10800.0, "warning", "3 hours behind the server: the server refuses that, and we sign with its time instead"),
        (259_200.0, "failed", "this machine is 3 days behind the server: signatures are refused"),
    ],
)
def test_a_clock_is_judged_by_what_it_does_to_signatures(skew_s: float | None, level: str, text: str) -> None:
    found = judge_clock(skew_s)

    assert found.level == level
    assert found.text.endswith(text)
    assert bool(found.advice) == (level != "ok")


def test_keys_are_told_by_their_source_and_time() -> None:
    found = service._of_identity(Identity("the instance's metadata", "ASIA…7Q2X", 1800.0, True))

    assert found.level == "ok"
    assert found.text == "from the instance's metadata, key ASIA…7Q2X, with a session token, good for 30 minutes"


def test_an_sso_session_that_ends_soon_is_a_warning() -> None:
    found = service._of_identity(Identity("SSO, profile 'lab'", "", 600.0, True))

    assert (found.level, found.advice) == ("warning", "aws sso login, before a long run")


def test_of_many_addresses_some_are_shown() -> None:
    found = service._of_addresses([f"10.0.0.{number}" for number in range(10)])

    assert found.text.endswith("10.0.0.7 and 2 more")


@pytest.mark.parametrize(
    ("uri", "probe"),
    [
        ("s3://bucket", "s3://bucket/asyncio-loader-doctor"),
        ("s3://bucket/a/", "s3://bucket/a/asyncio-loader-doctor"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
    ],
)
def test_the_first_question_is_for_an_object(uri: str, probe: str) -> None:
    assert service._probe_of(uri) == probe
