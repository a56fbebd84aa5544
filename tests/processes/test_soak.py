"""A short soak: epoch after epoch over a server that fails, with nothing lost and nothing that grows."""

from __future__ import annotations

from bench.cases.soak import RESTS, faults_of, soak_server

# `python -m bench soak` takes half an hour, and leaves the concurrency to the Loader.
SECONDS = 20.0
# Of resident memory. So soon the allocator still takes it in steps, of up to 40 MiB: ten of these runs had from -17 to
# 59. What is kept is told by the heap and the objects at rest, of which a megabyte and 2,000 are too much.
MOST_GROWTH_MIB = 100.0


def test_nothing_is_lost_and_nothing_grows() -> None:
    result = soak_server(SECONDS, objects=800, sample_s=0.2, max_in_flight=64)

    assert faults_of(result, most_growth_mib=MOST_GROWTH_MIB) == []
    # It was under way, the weather was bad, and somebody looked.
    assert result["epochs"] >= 3
    assert result["retries"] > 20
    assert len(result["rss"]) > 20
    assert len(result["rest_heap"]) == len(result["rest_objects"]) == RESTS


def test_what_is_kept_is_noticed() -> None:
    # One object per sample: 0.2 MiB, far below the steps of resident memory.
    result = soak_server(5.0, objects=800, sample_s=0.2, max_in_flight=64, kept_bytes=8)

    (fault,) = faults_of(result, most_growth_mib=MOST_GROWTH_MIB)
    assert "more Python objects are there at the last rest than at the second" in fault
