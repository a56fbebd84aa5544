from __future__ import annotations

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.settings import ServerSettings, load_changes
from asyncio_loader.testing.simulator.throttle import Throttle

SETTINGS = ServerSettings(
    bucket="bucket",
    latency=Latency(median_s=0.1, p99_s=0.2),
    faults=(Fault("short", times=2),),
    throttles=(Throttle(per_second=500, per_prefix=True),),
    bandwidth_bytes_s=1e6,
    seed=7,
)


def test_settings_cross_to_another_process() -> None:
    assert ServerSettings.load(SETTINGS.dump()) == SETTINGS


def test_some_of_them_cross_alone() -> None:
    changes = load_changes(SETTINGS.dump_changes("throttles", "faults"))

    assert changes == {"throttles": SETTINGS.throttles, "faults": SETTINGS.faults}


def test_no_bandwidth_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="bandwidth_bytes_s must be None or above 0"):
        ServerSettings(bucket="bucket", bandwidth_bytes_s=0)
