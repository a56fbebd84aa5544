from __future__ import annotations

from asyncio_loader.stats import Counters, LoaderStats


def test_a_snapshot_does_not_change_afterwards() -> None:
    counters = Counters()
    counters.gets += 3
    snapshot = counters.snapshot()
    counters.gets += 1

    assert snapshot == LoaderStats(gets=3)


def test_the_wait_share_is_a_share_of_the_time() -> None:
    assert LoaderStats(wait_s=1.0, elapsed_s=4.0).wait_share == 0.25
    assert LoaderStats().wait_share == 0.0


def test_every_field_says_how_to_read_it() -> None:
    for name in LoaderStats.__dataclass_fields__:
        assert f"\n        {name}: " in (LoaderStats.__doc__ or "")


def test_two_runs_one_after_the_other_add_up() -> None:
    first = LoaderStats(samples=10, gets=12, retries=2, wait_s=1.0, elapsed_s=4.0, peak_window_bytes=100)
    second = LoaderStats(samples=5, gets=5, wait_s=0.5, elapsed_s=2.0, peak_window_bytes=70)

    assert first + second == LoaderStats(
        samples=15, gets=17, retries=2, wait_s=1.5, elapsed_s=6.0, peak_window_bytes=100
    )
