from __future__ import annotations

import re

from asyncio_loader.testing.simulator.times import DateLine, http_time, iso_time


def test_http_time_is_that_of_the_standard() -> None:
    assert http_time(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_iso_time_is_that_of_listings() -> None:
    assert iso_time(784111777) == "1994-11-06T08:49:37.000Z"


def test_the_date_line_is_a_whole_header() -> None:
    assert re.fullmatch(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", DateLine().read())
