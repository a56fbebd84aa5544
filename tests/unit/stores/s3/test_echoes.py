from __future__ import annotations

import aiohttp
import botocore.exceptions
from aiohttp.http_exceptions import BadStatusLine

from asyncio_loader.stores.s3.echoes import cause_of


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


def test_a_cause_that_shows_what_went_over_the_wire_is_not_chained_however_far_behind() -> None:
    echo = BadStatusLine("x-amz-security-token: echoed")
    broken = raised(aiohttp.ClientOSError("Cannot write to closing transport"), echo)

    assert cause_of(echo) is None
    assert cause_of(broken) is None
    assert cause_of(raised(botocore.exceptions.HTTPClientError(error=broken), broken)) is None


def test_any_other_cause_is() -> None:
    reset = raised(aiohttp.ClientOSError("reset"), ConnectionResetError("reset by peer"))

    assert cause_of(reset) is reset


def test_what_was_being_handled_counts_too() -> None:
    closed = OSError("closed")
    closed.__context__ = BadStatusLine("x-amz-security-token: echoed")

    assert cause_of(closed) is None
