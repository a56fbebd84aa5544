from __future__ import annotations

import re

from asyncio_loader.testing.simulator.times import DateLine, http_time, iso_time, parse_amz_date


def test_http_time_is_that_of_the_standard() -> None:
    assert http_time(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_iso_time_is_that_of_listings() -> None:
    assert iso_time(784111777) == "1994-11-06T08:49:37.000Z"


def test_the_date_line_is_a_whole_header() -> None:
    assert re.fullmatch(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", DateLine().read())


def test_the_date_line_may_be_of_another_clock() -> None:
    year = int(DateLine(offset_s=-400 * 86_400).read().split()[4])

    assert year < int(DateLine().read().split()[4])


def test_the_date_of_a_signature_is_read_in_any_case() -> None:
    assert parse_amz_date("19941106t084937z") == parse_amz_date("19941106T084937Z") == 784111777


def test_what_is_no_date_is_none() -> None:
    assert parse_amz_date("") is parse_amz_date("yesterday") is None
