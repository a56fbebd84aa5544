"""Configs that the tests of training share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.config import load_config
from tests.unit.training.crew import Crew

PIPELINES = Path(__file__).parents[3] / "pipelines"


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Two of them wait for each other wherever the cores are busy, and this much work is none."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    """Two ranks. A test leaves both of them alive, and in no collective."""
    with Crew() as ranks:
        yield ranks


@pytest.fixture(scope="session")
def base_model() -> dict[str, Any]:
    """`model` of the base config: a ResNet-50."""
    model: dict[str, Any] = load_config(PIPELINES / "_base_/models/faster_rcnn_r50_fpn.py").model.to_dict()
    return model


@pytest.fixture(scope="session")
def small_model() -> dict[str, Any]:
    """A ResNet-18 of little width, three classes, from scratch. Copy before changing it."""
    options = {"neck.out_channels": 16, "rpn_head.in_channels": 16, "rpn_head.feat_channels": 16}
    options |= {"roi_head.bbox_roi_extractor.out_channels": 16, "roi_head.bbox_head.in_channels": 16}
    options |= {"roi_head.bbox_head.fc_out_channels": 32}
    config = load_config(
        PIPELINES / "demo/faster_rcnn_r18_fpn_synthetic_s3.py",
        {f"model.{key}": value for key, value in options.items()},
    )
    model: dict[str, Any] = config.model.to_dict()
    return model
