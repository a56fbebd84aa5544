"""Whatever is kept of what a pipeline and `collate` make, in whatever thread: nothing of it is ever written again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.datasets.collate import collate
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.decoding import decode_image

EXAMPLES = settings(max_examples=int(os.environ.get("ASYNCIO_LOADER_FUSED_EXAMPLES", "400")), deadline=None)
SAMPLES = 24


@pytest.fixture(autouse=True, scope="module")
def every_image_has_memory_of_the_pool() -> Iterator[None]:
    """Small ones, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncio_loader.transforms.arrays._SMALL_BYTES", 0)
        yield


def pipeline_of(rng: np.random.Generator, fuse: bool) -> Compose:
    """Random, of few sizes, so that memory comes back often."""
    entries: list[dict[str, Any]] = [
        {"type": "Resize", "img_scale": (int(rng.choice([24, 40])), 30), "keep_ratio": bool(rng.integers(2))},
        {"type": "RandomFlip", "flip_ratio": 0.5},
        {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6], "to_rgb": bool(rng.integers(2))},
        {"type": "Pad", "size_divisor": int(rng.choice([1, 16]))},
    ]
    left_out = set(rng.choice(4, rng.integers(3), replace=False).tolist())
    kept = [entry for at, entry in enumerate(entries) if at not in left_out]
    return Compose([*kept, {"type": "DefaultFormatBundle", "img_to_float": False}], fuse=fuse)


def look_at(tensor: torch.Tensor, rng: np.random.Generator) -> Any:
    """One of the ways to keep something of an image."""
    ways = [
        lambda: tensor,
        lambda: tensor[..., ::2, 1:],
        lambda: tensor.numpy()[..., :2],
        lambda: tensor.transpose(-1, -2),
        lambda: np.asarray(memoryview(tensor.numpy())),
        # The user's own: as long as it is held, whatever is written to it stands.
        lambda: tensor.mul_(2),
    ]
    return ways[rng.integers(len(ways))]()


def numbers_of(kept: Any) -> bytes:
    return bytes(np.asarray(kept).tobytes())


def make(seed: int, out: SimpleQueue[tuple[Any, bytes] | None], fuse: bool) -> None:
    """Images and stacks of them, of which something is handed on, something kept for a while, the rest dropped."""
    rng = np.random.default_rng(seed)
    files = [cv2.imencode(".jpg", rng.integers(0, 256, (*size, 3), dtype=np.uint8))[1] for size in [(30, 40), (44, 30)]]
    pipeline, held, waiting = pipeline_of(rng, fuse), [], []
    for number in range(SAMPLES):
        image = decode_image(files[rng.integers(2)].tobytes())
        if rng.integers(3) == 0:
            held.append((image[1:], numbers_of(image[1:])))
        results = pipeline({"img": image, "rng": np.random.default_rng(number), "img_fields": ["img"]})
        assert results is not None
        waiting.append(results["img"])
        if len(waiting) == 2:
            kinds = {container.data.dtype for container in waiting}
            assert len(kinds) == 1
            stack = look_at(collate(waiting, samples_per_gpu=2).data[0], rng)
            waiting = waiting[rng.integers(1, 3) :]
            out.put((stack, numbers_of(stack)))
        if rng.integers(2):
            some = look_at(results["img"].data.clone() if waiting else results["img"].data, rng)
            held.append((some, numbers_of(some)))
        if len(held) > 6:
            out.put(held.pop(rng.integers(6)))
    for kept in held:
        out.put(kept)
    out.put(None)


@EXAMPLES
@given(seed=st.integers(0, 2**31), threads=st.integers(1, 3), fuse=st.booleans())
def test_nothing_that_is_kept_is_written_again(seed: int, threads: int, fuse: bool) -> None:
    rng = np.random.default_rng(seed)
    out: SimpleQueue[tuple[Any, bytes] | None] = SimpleQueue()
    makers = [threading.Thread(target=make, args=(seed + number, out, fuse)) for number in range(threads)]
    for maker in makers:
        maker.start()
    held: list[tuple[Any, bytes]] = []
    ended = wrong = 0
    while ended < threads:
        item = out.get(timeout=30)
        if item is None:
            ended += 1
            continue
        held.append(item)
        # Dropped here, in another thread than the one that made it.
        while len(held) > rng.integers(1, 12):
            kept, before = held.pop(rng.integers(len(held)))
            wrong += numbers_of(kept) != before
    for maker in makers:
        maker.join()
    wrong += sum(numbers_of(kept) != before for kept, before in held)

    assert wrong == 0
