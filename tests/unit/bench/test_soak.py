from __future__ import annotations

from typing import Any

import pytest

from bench.cases import Settings, soak
from bench.cases.soak import body_of, faults_of, slope_per_s
from bench.measure import MIB


def make_result(**changes: Any) -> dict[str, Any]:
    count = 100
    result = {
        **dict.fromkeys(("lost", "doubled", "wrong", "credits"), 0),
        "most_in_flight": 64,
        "time_s": [float(n) for n in range(count)],
        # What a start takes is no growth.
        "rss": [(n if n < 50 else 50) * 100 * MIB for n in range(count)],
        "threads": [8] * count,
        "files": [100 + n % 7 for n in range(count)],
        "tasks": [130] * count,
        # Nor is what the first rest finds for good.
        "rest_heap": [90 * MIB, *[100 * MIB] * 7],
        "rest_objects": [500_000, *[800_000] * 7],
    }
    return {**result, **changes}


def test_the_slope_is_that_of_the_second_half() -> None:
    assert slope_per_s([0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 50, 50, 9, 10, 12, 14, 16, 18]) == pytest.approx(2)
    assert slope_per_s([0, 1], [5, 6]) == slope_per_s([], []) == 0


def test_a_result_without_faults_has_none() -> None:
    assert faults_of(make_result()) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"lost": 2}, "2 samples were lost"),
        ({"doubled": 1}, "1 samples were doubled"),
        ({"wrong": 3}, "3 samples were wrong"),
        ({"credits": 4}, "4 credits are not back at the end"),
        ({"rss": [n * MIB for n in range(100)]}, "resident memory grew by 50 MiB in the second half of 99 s"),
        (
            {"rest_heap": [(90 + n) * MIB for n in range(8)]},
            "6.0 MiB more of the heap are in use at the last rest than at the second",
        ),
        (
            {"rest_objects": [500_000 + 1000 * n for n in range(8)]},
            "6000 more Python objects are there at the last rest than at the second",
        ),
        ({"threads": [8] * 50 + [9] * 50}, "threads grew from at most 8 to 9 in the second half"),
        ({"files": list(range(100, 200))}, "there were 199 files, and 160 at most are wanted"),
        ({"tasks": list(range(100, 200))}, "there were 199 tasks, and 160 at most are wanted"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_must_not_be_is_named(changes: dict[str, Any], fault: str) -> None:
    assert faults_of(make_result(**changes)) == [fault]


def test_bodies_tell_their_number() -> None:
    assert [len(body_of(number)) for number in range(5)] == [1_000, 20_000, 60_000, 120_000, 1_000]
    assert body_of(0) != body_of(4)


def test_an_epoch_is_compared_with_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plan:
        def index_at(self, position: int) -> int:
            return position + 10

    found = dict.fromkeys(("epochs", "samples", "lost", "doubled", "wrong"), 0)
    soak._compare(found, [(0, 10, True), (1, 11, True)], Plan(), 2)
    assert found == {"epochs": 1, "samples": 2, "lost": 0, "doubled": 0, "wrong": 0}

    # One is missing, one is there twice; the last two are not in their place, and one before is not what it was.
    soak._compare(found, [(0, 10, False), (2, 12, True), (2, 12, True)], Plan(), 3)
    assert found == {"epochs": 2, "samples": 5, "lost": 1, "doubled": 1, "wrong": 2}


def test_the_report_has_its_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def pretend(seconds: float, **_: object) -> dict[str, Any]:
        asked.append(seconds)
        return make_result(lost=1, epochs=3, samples=100, gets=110)

    monkeypatch.setattr(soak, "soak_server", pretend)
    report = soak.run(Settings(minutes=10, scale=0.5))

    assert asked == [300]
    assert report.faults == ["1 samples were lost"]
    assert report.rows[0][:5] == ("5 min", "3", "100", "1.10", "1")
