from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.progress.iteration import IterationLine, check_progress
from asyncio_loader.stats import LoaderStats

MB = 1_000_000
WIDTHS = (0, 1, 5, 9, 19, 29, 39, 59, 79, 99, 159)


class Run:
    """COCO's train2017, of which 212 images come in a second."""

    def __init__(self, name: str = "train") -> None:
        self.now_s = 0.0
        self.stats = LoaderStats()
        self.line = IterationLine(
            name,
            3,
            stats=lambda: self.stats,
            left=lambda: 118_287 - self.stats.samples,
            total=118_287,
            clock=lambda: self.now_s,
        )

    def go(self, seconds: int) -> Run:
        for _ in range(seconds):
            self.now_s += 1
            self.stats = LoaderStats(
                samples=round(212 * self.now_s),
                gets=round(212 * self.now_s),
                bytes_fetched=round(24.4 * MB * self.now_s),
                elapsed_s=self.now_s,
                wait_s=0.34 * self.now_s,
                fetch_s=50 * self.now_s,
                transform_s=0.3 * self.now_s,
                starved_s=0.6 * self.now_s,
                threads=2,
                in_flight=64,
                level=96,
                most_in_flight=1024,
                held_bytes=118 * MB,
                window_bytes=256 * MB,
            )
            self.line.rows(80)
        return self


def test_at_80_columns_all_of_it_is_in_two_rows() -> None:
    assert Run().go(39).line.rows(79) == [
        "train, epoch 3  8,268/118,287  6%  [#-----------------]  212 img/s  ETA 8:39",
        "24.4 MB/s  in flight 64/96  buffer 118/256 MB  wait 34%  limit: network",
    ]


def test_at_40_columns_there_are_fewer_fields() -> None:
    assert Run().go(39).line.rows(39) == [
        "train, epoch 3  6%  212 img/s  ETA 8:39",
        "24.4 MB/s  wait 34%  limit: network",
    ]


def test_a_wide_terminal_has_the_finding() -> None:
    assert Run().go(39).line.rows(159)[1] == (
        "24.4 MB/s  in flight 64/96  buffer 118/256 MB  wait 34%  "
        "the network is the limit, 24.4 MB/s with 50 GETs under way"
    )


@pytest.mark.parametrize("seconds", [0, 1, 39])
def test_no_row_is_wider_than_the_terminal(seconds: int) -> None:
    line = Run("a name that is longer than most terminals are wide").go(seconds).line

    assert all(len(row) <= width for width in WIDTHS for row in [*line.rows(width), line.summary(width)])


def test_a_line_of_a_log_has_all_of_it() -> None:
    assert Run().go(39).line.plain() == (
        "train, epoch 3: 8,268/118,287, 6%, 212 img/s, ETA 8:39, 24.4 MB/s, in flight 64/96, buffer 118/256 MB, "
        "wait 34%, the network is the limit, 24.4 MB/s with 50 GETs under way"
    )


def test_the_summary_is_of_the_whole_iteration() -> None:
    line = Run("").go(39).line

    assert line.summary() == (
        "epoch 3: 8,268/118,287 in 0:39, 212 img/s, 24.4 MB/s, wait 34%, "
        "the network is the limit, 24.4 MB/s with 50 GETs under way"
    )
    assert line.summary(39) == "8,268/118,287 in 0:39  212 img/s"


def test_a_long_wait_is_said_while_it_lasts() -> None:
    run = Run().go(39)

    def wait(seconds: float) -> Callable[[], str]:
        def waiting() -> str:
            run.now_s += seconds
            return run.line.rows(79)[1]

        return waiting

    assert "waiting" not in run.line.waiting(wait(2.9))
    assert run.line.waiting(wait(12.0)).endswith("  waiting 12 s")
    assert "waiting" not in run.line.rows(79)[1]


def test_a_wait_that_fails_is_over() -> None:
    run = Run().go(39)

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run.line.waiting(fail)
    run.now_s += 60
    assert "waiting" not in run.line.rows(79)[1]


def test_before_anything_has_come_nothing_is_known() -> None:
    rows = Run().line.rows(79)

    assert "0.0 img/s  ETA -:--" in rows[0]
    assert rows[1].endswith("too early to tell")


def test_an_epoch_without_samples_is_through() -> None:
    line = IterationLine("", 0, stats=LoaderStats, left=lambda: 0, total=0, clock=lambda: 0.0)

    assert line.rows(79)[0].startswith("epoch 0  0/0  100%")


@pytest.mark.parametrize(("progress", "name"), [(False, None), (True, ""), ("val", "val")])
def test_it_is_asked_for_by_a_flag_or_a_name(progress: bool | str, name: str | None) -> None:
    assert check_progress(progress) == name


@pytest.mark.parametrize("progress", ["", 1, None, b"train"])
def test_anything_else_is_refused(progress: object) -> None:
    with pytest.raises(ConfigError, match="progress must be True, False or a name to show, not "):
        check_progress(progress)  # type: ignore[arg-type]
