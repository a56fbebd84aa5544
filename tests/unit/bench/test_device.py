"""Without a GPU: the same on the host, with a model that takes no time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import cv2
import pytest
import torch

from bench.cases import Settings, device
from bench.pipelines import device as runs
from bench.report import format_table

IMAGES = 6


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_SHARED", "/nowhere")


def test_without_a_gpu_it_says_so_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    report = device.run(Settings())

    assert format_table(report).startswith("device: needs a CUDA device, and torch finds none: nothing was measured\n")
    assert report.rows == []


def test_a_step_trains_a_faster_rcnn_on_uint8_images() -> None:
    torch.manual_seed(0)
    step = runs._make_step("cpu")
    # The preprocessor pads them to one size.
    images = [
        torch.randint(0, 255, (3, 64, 60), dtype=torch.uint8),
        torch.randint(0, 255, (3, 50, 64), dtype=torch.uint8),
    ]
    boxes = torch.tensor([[5.0, 5.0, 40.0, 40.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1]), "img_shape": (*image.shape[1:], 3)} for image in images]

    step((images, targets))


def test_each_contender_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def call(target: str, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**{**arguments, "images": IMAGES})

    def make_step(device: str) -> Any:
        def step(batch: Any) -> None:
            images, targets = batch
            seen.append((len(images), images[0].dtype, images[0].device.type, len(targets)))

        return step

    before = cv2.getNumThreads()
    monkeypatch.setattr(device, "call_in_fresh_process", call)
    monkeypatch.setattr(runs, "_make_step", make_step)
    report = device.run(Settings(repeats=1, scale=0.001), device="cpu")
    (trained,) = report.parts

    names = [contender.name for contender in device.CONTENDERS]
    assert [row[0] for row in report.rows] == [f"{name}, {dtype}" for name in names for dtype in ("uint8", "float32")]
    assert all(float(cell) > 0 for row in report.rows for cell in row[1:])
    assert [row[0] for row in trained.rows] == names
    assert set(seen) == {(2, torch.uint8, "cpu", 2)}
    # Three to warm up, an epoch, and as many on the batch that stays.
    assert len(seen) == 3 * (3 + 3 + 3)
    cv2.setNumThreads(before)
