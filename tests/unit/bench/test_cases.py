from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from bench import images
from bench.cases import Settings, epoch, get_cost, memory

SMALL = Settings(repeats=1, scale=0.001)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh interpreter for each measurement makes figures good, and a dozen of them make a test slow."""

    def call(target: str, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**arguments)

    cases: Sequence[ModuleType] = (epoch, get_cost, memory)
    for case in cases:
        monkeypatch.setattr(case, "call_in_fresh_process", call)
    monkeypatch.setattr(images, "DISTINCT", 2)
    monkeypatch.setattr(epoch, "MEDIAN_S", 0.001)
    monkeypatch.setattr(epoch, "P99_S", 0.002)


def figures(row: Sequence[str]) -> list[float]:
    return [float(cell) for cell in row[1:]]


def test_epoch_measures_all_three() -> None:
    report = epoch.run(SMALL)

    assert [row[0] for row in report.rows] == ["RAM", "Loader", "boto3"]
    assert all(value > 0 for row in report.rows for value in figures(row)[:3])
    assert report.rows[0][4] == "1.00"


def test_memory_measures_all_mixtures() -> None:
    report = memory.run(SMALL)

    assert [row[0] for row in report.rows] == ["115 KB each", "1 KB to 4 MB", "1 KB to 50 MB"]
    assert [result[0]["bytes"] > 0 for result in report.raw.values()] == [True, True, True]
    assert [result[0]["peak_window"] > 0 for result in report.raw.values()] == [True, True, True]
    assert report.faults == []


def test_memory_finds_a_window_that_held_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    real = memory.pass_through

    def hold_more(**arguments: Any) -> dict[str, float]:
        return real(**arguments) | {"peak_window": 1000.0 * memory.MIB}

    monkeypatch.setattr(memory, "MIXTURES", memory.MIXTURES[:1])
    monkeypatch.setattr(memory, "pass_through", hold_more)
    report = memory.run(SMALL)

    assert report.faults == ["115 KB each: 1000 MiB were held, more than the window of 64 MiB and one object"]


def test_get_cost_measures_every_layer() -> None:
    report = get_cost.run(SMALL)

    assert [row[0] for row in report.rows] == ["store", "engine", "dataset", "aioboto3"]
    assert all(value > 0 for row in report.rows for value in figures(row))
