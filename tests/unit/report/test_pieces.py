from __future__ import annotations

from datetime import UTC, datetime, timedelta

from asyncio_loader.record import Step
from asyncio_loader.report.pieces import judged_pieces
from asyncio_loader.stats import Limit, LoaderStats

BEGIN = datetime(2026, 11, 26, tzinfo=UTC)
NETWORK = LoaderStats(samples=10, gets=10, elapsed_s=1.0, wait_s=0.9, starved_s=0.9, threads=1)
CONSUMER = LoaderStats(samples=10, gets=10, elapsed_s=1.0, wait_s=0.01, blocked_s=0.9, transform_s=0.1, threads=1)


def steps_of(*stats: LoaderStats) -> list[Step]:
    return [Step(end=BEGIN + timedelta(seconds=n + 1), over_s=1.0, stats=one) for n, one in enumerate(stats)]


def test_a_piece_is_as_long_as_the_judge_needs() -> None:
    pieces = judged_pieces(steps_of(*[NETWORK] * 4, *[CONSUMER] * 4, NETWORK), LoaderStats())

    assert [verdict.limit for _, verdict in pieces] == [Limit.NETWORK, Limit.CONSUMER]
    assert [(piece.begin, piece.end) for piece, _ in pieces] == [
        (BEGIN, BEGIN + timedelta(seconds=4)),
        (BEGIN + timedelta(seconds=4), BEGIN + timedelta(seconds=8)),
    ]


def test_of_a_long_run_there_are_no_more_pieces_than_can_be_told_apart() -> None:
    busy = LoaderStats(samples=100, gets=100, elapsed_s=1.0, wait_s=0.9, starved_s=0.9, threads=1)

    assert len(judged_pieces(steps_of(*[busy] * 2000), LoaderStats())) == 80


def test_what_an_iteration_takes_to_begin_is_not_judged() -> None:
    begins = LoaderStats(samples=40, elapsed_s=3.0, startup_s=2.9, wait_s=2.9, threads=1)
    (piece,) = judged_pieces(steps_of(begins, *[CONSUMER] * 3), LoaderStats())

    assert piece[1].limit is Limit.CONSUMER
    assert piece[0].stats.samples == 50
