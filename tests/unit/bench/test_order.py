from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.ref_file import RefFile
from bench.cases import Settings, order


def test_order_measures_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(target: str, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**arguments)

    monkeypatch.setattr(order, "call_in_fresh_process", call)
    monkeypatch.setattr(order, "POSITIONS", 200)
    monkeypatch.setattr(order, "SAMPLES", 100)

    report = order.run(Settings(repeats=1, scale=0.0001))

    assert [row[0] for row in report.rows] == ["64", "100", "1,000", "10,000", "most / least"]
    assert all(float(cell) > 0 for row in report.rows[:-1] for cell in row[1:4])
    assert all(float(cell) >= 1 for cell in report.rows[-1][1:4])


@pytest.mark.parametrize("count", [64, 1000, 1500])
def test_the_text_has_the_lines_asked_for(tmp_path: Path, count: int) -> None:
    path = tmp_path / "refs.txt"
    order._write_lines(str(path), count)

    uris = [ref.uri for ref in RefFile(path)]

    assert uris == [f"s3://bucket/{number % 1000:011d}" for number in range(count)]
