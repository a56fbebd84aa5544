from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from bench.cases import Settings, hand_over


def test_both_ways_are_measured_with_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(target: str, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**arguments)

    monkeypatch.setattr(hand_over, "call_in_fresh_process", call)
    before = torch.get_num_threads()
    try:
        report = hand_over.run(Settings(repeats=1, scale=0.001))
    finally:
        torch.set_num_threads(before)

    assert [row[:2] for row in report.rows] == [
        (kind, way) for kind in ("stack", "arrays", "detection") for way in ("torch", "ours")
    ]
    assert all(float(row[2]) > 0 for row in report.rows)
    assert [bool(row[-1]) for row in report.rows] == [False, True] * 3


def test_an_image_of_another_sample_is_noticed() -> None:
    samples = [hand_over._detection(3), hand_over._arrays(300)]
    assert hand_over._go_through([samples]) == [3, 300]  # type: ignore[arg-type]

    samples[0]["image"] = hand_over._detection(4)["image"]
    with pytest.raises(AssertionError, match="sample 3 is another's"):
        hand_over._go_through([samples])  # type: ignore[arg-type]
