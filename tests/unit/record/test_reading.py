from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.record import parse_record, read_record
from asyncio_loader.record.lines import durations_json, line_of, numbers_json, stats_of
from asyncio_loader.record.reading import merge_steps
from asyncio_loader.stats import LoaderStats, SlowObject
from asyncio_loader.stats.durations import LatencyHistogram

HEAD = {"kind": "run", "format": 1, "time": "2026-11-26T04:00:00.000+00:00", "rank": 0, "versions": {}, "options": {}}


def step(at_s: float, over_s: float = 1.0, **stats: Any) -> dict[str, Any]:
    return {"kind": "step", "loader": "train", "at_s": at_s, "over_s": over_s, "stats": stats}


def file_of(*documents: dict[str, Any]) -> bytes:
    return b"".join(map(line_of, documents))


def test_stats_come_back_as_they_were() -> None:
    histogram = LatencyHistogram(memory=None)
    for seconds in (0.001, 0.02, 0.02, 3.0, 5000.0):
        histogram.add(seconds)
    stats = LoaderStats(
        samples=5, wait_s=1.25, level=32, fetch=histogram.frozen(), slowest=(SlowObject(3.0, "s3://b/\udcff.jpg"),)
    )

    line = line_of({"stats": numbers_json(stats), "durations": durations_json(stats), "slowest": stats.slowest})
    assert stats_of(json.loads(line)) == stats


def test_steps_have_times_and_their_sum_is_the_total() -> None:
    record = parse_record(
        file_of(HEAD, step(1, samples=3, level=8), step(2, samples=4, level=4), {"kind": "later, and unknown"}),
        source="r",
    )

    assert [step.end for step in record.steps("train")] == [
        datetime(2026, 11, 26, 4, 0, second, tzinfo=UTC) for second in (1, 2)
    ]
    assert record.total("train") == LoaderStats(samples=7, level=8)
    assert record.broken == ()


def test_the_slowest_are_those_of_the_summary_and_of_what_came_after_it() -> None:
    whole = {"kind": "whole", "loader": "train", "at_s": 1, "stats": {}, "slowest": [[3.0, "a"], [1.0, "b"]]}
    record = parse_record(file_of(HEAD, step(1), whole, {**step(2), "slowest": [[2.0, "c"]]}), source="r")

    assert record.total("train").slowest == ((3.0, "a"), (2.0, "c"), (1.0, "b"))


def test_steps_are_merged_to_as_few_as_are_wanted() -> None:
    steps = parse_record(file_of(HEAD, *(step(n, samples=n) for n in range(1, 8))), source="r").steps("train")

    merged = merge_steps(steps, 3)
    assert [(step.over_s, step.stats.samples) for step in merged] == [(3, 6), (3, 15), (1, 7)]
    assert [merged[0].begin, merged[-1].end] == [steps[0].begin, steps[-1].end]
    assert merge_steps(steps, 7) == steps


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{half", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "must be a JSON object with a kind"),
        (line_of({**step(1), "stats": {"samples": "many"}}), "stats.samples must be a number, not 'many'"),
        (b'{"kind":"step","loader":"t","at_s":1,"over_s":1,"stats":{"wait_s":NaN}}\n', "stats.wait_s must be a number"),
        (line_of({**step(1), "stats": []}), "stats must be an object"),
        (line_of({**step(1), "loader": 3}), "loader must be a text, not 3"),
        (line_of(step(-1)), "at_s must be seconds, not -1"),
        (line_of(step(1, over_s=1e99)), "over_s must be seconds"),
        (line_of({**step(1), "slowest": [["a", 1]]}), "slowest must hold"),
        (line_of({**step(1), "durations": {"fetch": 1}}), "durations.fetch must have counts"),
        (line_of({**step(1), "durations": {"fetch": {"counts": [[192, 1]], "sum_s": 1}}}), "place below 192"),
    ],
)
def test_a_broken_line_is_named_and_the_rest_is_read(line: bytes, said: str) -> None:
    data = file_of(HEAD, step(1, samples=3)) + line.rstrip(b"\n") + b"\n" + file_of(step(2, samples=4))

    record = parse_record(data, source="run/record.jsonl")

    (broken,) = record.broken
    assert broken.startswith("run/record.jsonl, line 3: ")
    assert said in broken
    assert record.total("train").samples == 7


def test_what_a_killed_process_left_is_passed_over() -> None:
    half = b'{"kind":"step","loa'
    data = file_of(HEAD, step(1, samples=3)) + half + b"\n" + file_of(HEAD, step(1, samples=4)) + half

    record = parse_record(data, source="r")

    assert record.broken == ()
    assert [segment.total("train").samples for segment in record.segments] == [3, 4]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "r: no record of a run: it is empty"),
        (b"\x89PNG\r\n", "r: no record of a run: r, line 1: not JSON"),
        (file_of(step(1)), "r: no record of a run: r, line 1: stands before the first line of a run"),
        (file_of({**HEAD, "format": 2}), "r, line 1: format must be 1, not 2"),
        (file_of({**HEAD, "time": "yesterday"}), "r, line 1: time must be in ISO 8601, not 'yesterday'"),
        (file_of({**HEAD, "options": []}), r"r, line 1: options must be dict, not \[\]"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{said}"):
        parse_record(data, source="r")


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "record.jsonl").write_bytes(file_of(HEAD, step(1, samples=1)))

    record = read_record(tmp_path / "record.jsonl")
    assert record.loaders == ["train"]
    assert replace(record.total("train"), samples=0) == LoaderStats()
