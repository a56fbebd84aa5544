"""Points in time as HTTP and S3 write them."""

from __future__ import annotations

import calendar
import time
from email.utils import formatdate

__all__ = ["DateLine", "http_time", "iso_time", "parse_amz_date"]


def http_time(unix_s: float) -> str:
    """``Sun, 06 Nov 1994 08:49:37 GMT`` (RFC 9110, 5.6.7)."""
    return formatdate(unix_s, usegmt=True)


def iso_time(unix_s: float) -> str:
    """``1994-11-06T08:49:37.000Z``, as listings have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(unix_s))


def parse_amz_date(text: str) -> float | None:
    """Unix time of an ``x-amz-date`` (``20260131T123600Z``, in any case); None for what is none."""
    try:
        return calendar.timegm(time.strptime(text.upper(), "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None


class DateLine:
    """The Date header of now, formatted once a second.

    Args:
        offset_s: how far the server's clock is ahead of this machine's.
    """

    def __init__(self, offset_s: float = 0.0) -> None:
        self._offset_s = offset_s
        self._second = -1
        self._line = b""

    def read(self) -> bytes:
        """The line with its CRLF."""
        second = int(time.time() + self._offset_s)
        if second != self._second:
            self._second = second
            self._line = f"Date: {http_time(second)}\r\n".encode("ascii")
        return self._line
