from __future__ import annotations

import importlib
import zlib
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pytest

from bench import images
from bench.cases import Settings, storm


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the tests of the other cases: a fresh interpreter for each measurement makes a test slow."""

    def call(target: str, *, environ: Mapping[str, str], **arguments: Any) -> Any:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**arguments)

    monkeypatch.setattr(storm, "call_in_fresh_process", call)
    for module in (images, storm):
        monkeypatch.setattr(module, "DISTINCT", 2)
    monkeypatch.setattr(storm, "WARM_IMAGES", 16)
    monkeypatch.setattr(storm, "MEDIAN_S", 0.001)
    monkeypatch.setattr(storm, "P99_S", 0.002)


def test_storm_measures_both_weathers_with_and_without_decoding() -> None:
    report = storm.run(Settings(repeats=1, scale=0.001))

    assert [row[0] for row in report.rows] == ["bytes, calm", "bytes, storm", "decoded, calm", "decoded, storm"]
    assert all(float(row[1]) > 0 for row in report.rows)
    for row in report.rows:
        assert row[5:8] == ("0", "0", "0")
    for name, (result,) in report.raw.items():
        met = sum(count for key, count in result.items() if key.startswith("met_"))
        assert (met > 0) == name.endswith("storm")


def test_mistakes_are_found() -> None:
    digests = [zlib.crc32(jpeg) for _, jpeg in islice(storm._objects(storm.DISTINCT), storm.DISTINCT)]
    order = (2, 0, 1)
    samples = [(place, index, digests[index % storm.DISTINCT]) for place, index in enumerate(order)]
    first, second, third = samples

    assert storm._mistakes(samples, order) == {"lost": 0, "doubled": 0, "wrong": 0}
    assert storm._mistakes([first, first, third], order) == {"lost": 1, "doubled": 1, "wrong": 1}
    assert storm._mistakes([first, (1, 0, -1), third], order) == {"lost": 0, "doubled": 0, "wrong": 1}
    assert storm._mistakes([first, third, second], order) == {"lost": 0, "doubled": 0, "wrong": 2}
    assert storm._mistakes([first, second], order) == {"lost": 1, "doubled": 0, "wrong": 0}


def test_each_repeat_has_a_storm_of_its_own() -> None:
    assert [len(storm._storm(repeat)) for repeat in range(3)] == [len(storm.STORM) + repeat for repeat in range(3)]
