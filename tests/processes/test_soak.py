"""A short soak: epoch after epoch over a server that fails, with nothing lost and nothing that grows."""

from __future__ import annotations

from bench.cases.soak import faults_of, soak_server

# `python -m bench soak` takes half an hour, and leaves the concurrency to the Loader.
SECONDS = 20.0
# So soon the allocator still takes memory in steps, of up to 40 MiB: ten of these runs had from -17 to 59. Were one
# object in ten kept, of 25,000 in the second half and 60 KB each, there would be 140.
MOST_GROWTH_MIB = 100.0


def test_nothing_is_lost_and_nothing_grows() -> None:
    result = soak_server(SECONDS, objects=800, sample_s=0.2, max_in_flight=64)

    assert faults_of(result, most_growth_mib=MOST_GROWTH_MIB) == []
    # It was under way, the weather was bad, and somebody looked.
    assert result["epochs"] >= 3
    assert result["retries"] > 20
    assert len(result["rss"]) > 20
