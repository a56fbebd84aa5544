"""Which refusals are worth another signature."""

from __future__ import annotations

import time

import pytest

from asyncio_loader.stores.s3.basis import Basis, is_mended
from asyncio_loader.stores.s3.clock import ServerClock
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.faults import Refusal
from asyncio_loader.stores.s3.sigv4 import Keys

OLD, NEW = Keys("id", "x", "old"), Keys("id", "x", "new")


class Renewing(Credentials):
    """Has newer keys."""

    def __init__(self) -> None:
        self.replaced: list[Keys] = []

    async def replace(self, refused: Keys) -> Keys:
        self.replaced.append(refused)
        return NEW


def _far_date_s() -> float:
    return time.time() + 3600


@pytest.mark.parametrize(
    ("status", "code", "is_far", "expected"),
    [
        (403, "RequestTimeTooSkewed", True, True),
        (403, "RequestTimeTooSkewed", False, False),
        # Of a HEAD; of servers that say it otherwise (rclone: 400 AccessDenied).
        (403, "", True, True),
        (403, "SignatureDoesNotMatch", True, True),
        (400, "AccessDenied", True, True),
        (403, "AccessDenied", False, False),
        (404, "NoSuchKey", True, False),
        (503, "SlowDown", True, False),
    ],
)
async def test_a_refusal_of_the_time(status: int, code: str, is_far: bool, expected: bool) -> None:
    clock, credentials = ServerClock("http://s3.test"), Renewing()
    refusal = Refusal(status, code, date_s=_far_date_s() if is_far else time.time())

    assert await is_mended(refusal, Basis(OLD, 0.0), credentials, clock) is expected
    assert (abs(clock.offset_s - 3600) < 5) is expected
    assert credentials.replaced == []


@pytest.mark.parametrize(("keys", "expected"), [(OLD, True), (NEW, False)])
async def test_a_refusal_of_the_keys(keys: Keys, expected: bool) -> None:
    clock, credentials = ServerClock("http://s3.test"), Renewing()

    assert await is_mended(Refusal(400, "ExpiredToken"), Basis(keys, 0.0), credentials, clock) is expected
    assert credentials.replaced == [keys]
    assert clock.offset_s == 0.0
