from __future__ import annotations

import pytest

from asyncio_loader.progress.steps import StepLine


class Run:
    def __init__(self) -> None:
        self.now_s = 5.0
        self.line = StepLine("train", 60, lambda: self.now_s)

    def go(self, steps: int) -> StepLine:
        for step in range(1, steps + 1):
            self.now_s += 2.0
            self.line.advance(step, "loss 1.250  2.3 img/s  wait 3%")
        return self.line


def test_at_80_columns() -> None:
    assert Run().go(12).rows(79) == ["train  12/60  20%  [#-------]  ETA 1:36  loss 1.250  2.3 img/s  wait 3%"]


def test_at_40_columns() -> None:
    assert Run().go(12).rows(39) == ["train  12/60  20%  ETA 1:36"]


@pytest.mark.parametrize("width", [0, 1, 9, 39, 60])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    line = Run().go(12)

    assert all(len(row) <= width for row in [*line.rows(width), line.summary(width)])


def test_texts_of_a_log() -> None:
    line = Run().go(12)

    assert line.plain() == "train: 12/60, 20%, ETA 1:36, loss 1.250  2.3 img/s  wait 3%"
    assert line.summary() == "train: 12/60 in 0:24, loss 1.250  2.3 img/s  wait 3%"


def test_before_the_first_step_the_time_is_not_known() -> None:
    assert Run().line.plain() == "train: 0/60, 0%, ETA -:--"


def test_steps_of_an_earlier_run_took_no_time() -> None:
    """Two steps in 4 s, after 40 that were resumed from: 18 more take 36 s."""
    run = Run()
    run.now_s += 2.0
    run.line.advance(41, "")
    run.now_s += 2.0
    run.line.advance(42, "")

    assert run.line.plain() == "train: 42/60, 70%, ETA 0:36"
