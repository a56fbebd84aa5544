"""States with the names and shapes of real files, and a bucket to put them in."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.stores.s3.store import S3Store

KEYS = Path(__file__).parents[3] / "data/keys"


def real_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes from ``tests/data/keys/<name>.txt``."""
    lines = (KEYS / f"{name}.txt").read_text().splitlines()
    pairs = (line.split() for line in lines)
    return {key: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for key, shape in pairs}


def real_state(name: str) -> dict[str, Tensor]:
    """Tensors of these names and shapes, without memory behind them."""
    return {key: torch.empty(shape, device="meta") for key, shape in real_shapes(name).items()}


def create_bucket(uri: str) -> None:
    """Make the bucket of a URI on the server of the environment."""
    thread, store = LoopThread(), S3Store()
    try:
        thread.run(store.create_bucket(uri))
    finally:
        thread.close(store.aclose)
