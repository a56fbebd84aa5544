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
