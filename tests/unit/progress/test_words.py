from __future__ import annotations

import pytest

from asyncio_loader.progress.words import (
    as_bytes_of,
    as_duration,
    as_mb_per_s,
    as_percent,
    as_rate,
    bar,
    printable,
)


@pytest.mark.parametrize(("per_s", "text"), [(0, "0.0 img/s"), (9.94, "9.9 img/s"), (1234.5, "1,234 img/s")])
def test_a_rate(per_s: float, text: str) -> None:
    assert as_rate(per_s, "img") == text


def test_megabytes_are_decimal() -> None:
    assert as_mb_per_s(24_440_000) == "24.4 MB/s"


@pytest.mark.parametrize(
    ("amount", "total", "text"),
    [
        (118_000_000, 256_000_000, "118/256 MB"),
        (1_200_000, 8_000_000, "1.2/8.0 MB"),
        (1_200_000, 0, "1.2 MB"),
        (2_500_000_000, 0, "2,500 MB"),
    ],
)
def test_bytes_of_bytes(amount: int, total: int, text: str) -> None:
    assert as_bytes_of(amount, total) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.999, "99%"), (1, "100%"), (1.2, "100%"), (-1, "0%")])
def test_a_hundred_per_cent_is_all(share: float, text: str) -> None:
    assert as_percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (553, "9:13"), (7753, "2:09:13"), (None, "-:--"), (float("inf"), "-:--")],
)
def test_a_duration(seconds: float | None, text: str) -> None:
    assert as_duration(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(0, "[----]"), (0.5, "[##--]"), (0.99, "[###-]"), (1, "[####]")])
def test_a_bar(share: float, text: str) -> None:
    assert bar(share, 6) == text


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("Füße.pth", "utf-8", "Füße.pth"),
        ("Füße.pth", "ascii", "F??e.pth"),
        ("Füße.pth", None, "F??e.pth"),
        ("Füße.pth", "no-such-encoding", "F??e.pth"),
        ("a\x1b[2Jb\nc", "utf-8", "a?[2Jb?c"),
    ],
)
def test_any_name_can_be_shown_and_moves_no_cursor(text: str, encoding: str | None, shown: str) -> None:
    assert printable(text, encoding) == shown
