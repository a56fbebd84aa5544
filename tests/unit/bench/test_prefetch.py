from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

from bench import images
from bench.cases import Settings, prefetch


def test_prefetch_measures_all_three(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(target: str, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**arguments)

    monkeypatch.setattr(prefetch, "call_in_fresh_process", call)
    monkeypatch.setattr(images, "DISTINCT", 2)
    monkeypatch.setattr(prefetch, "MEDIAN_S", 0.001)
    monkeypatch.setattr(prefetch, "P99_S", 0.002)

    report = prefetch.run(Settings(repeats=1, scale=0.001))

    assert [row[0] for row in report.rows] == ["RAM", "PrefetchDataset", "plain"]
    assert all(float(cell) > 0 for row in report.rows for cell in row[1:])
    assert report.rows[0][4] == "1.00"
