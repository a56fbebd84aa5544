from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets import hand_over
from asyncio_loader.datasets.collate import collate
from asyncio_loader.datasets.hand_over import SHARED_BYTES
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.masks import BitmapMasks

HEIGHT, WIDTH = 200, 300


def masks_of(count: int) -> BitmapMasks:
    rng = np.random.default_rng(count)
    return BitmapMasks(rng.integers(0, 2, (count, HEIGHT, WIDTH), dtype=np.uint8), HEIGHT, WIDTH)


class _Masks:
    def __init__(self, counts: list[int], is_read_only: bool = False) -> None:
        self.counts, self.is_read_only = counts, is_read_only

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        masks = masks_of(self.counts[index])
        masks.masks.flags.writeable = not self.is_read_only
        return {"gt_masks": DataContainer(masks, cpu_only=True)}


@pytest.mark.parametrize("is_read_only", [False, True])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_masks_of_a_worker_are_those_that_it_made(start: str, is_read_only: bool) -> None:
    counts = [5, 0, 1, 3]
    loader = torch.utils.data.DataLoader(
        _Masks(counts, is_read_only),  # type: ignore[arg-type]
        2,
        num_workers=1,
        collate_fn=partial(collate, samples_per_gpu=2),
        multiprocessing_context=start,
    )
    got = [masks for batch in loader for masks in batch["gt_masks"].data[0]]

    assert [len(masks) for masks in got] == counts
    for masks in got:
        expected = masks_of(len(masks))
        assert (type(masks), masks.height, masks.width) == (BitmapMasks, HEIGHT, WIDTH)
        assert masks.masks.dtype == np.uint8
        assert (masks.masks == expected.masks).all()
        assert masks.masks.shape == expected.masks.shape
        # They are the user's own.
        masks.masks[...] = 1


def test_bytes_of_many_pixels_are_not_in_what_is_sent() -> None:
    masks = masks_of(4)

    assert len(bytes(ForkingPickler.dumps(masks))) < 2000
    assert len(pickle.dumps(masks)) > masks.masks.nbytes > SHARED_BYTES


def test_a_few_pixels_go_with_the_rest() -> None:
    masks = BitmapMasks(np.ones((1, 4, 5), dtype=np.uint8), 4, 5)
    got = pickle.loads(bytes(ForkingPickler.dumps(masks)))

    assert (got.masks == masks.masks).all()
    assert (got.height, got.width) == (4, 5)


def test_copies_within_a_process_are_copies() -> None:
    masks = masks_of(4)
    for got in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks))):
        got.masks[...] = 7

        assert masks.masks.max() == 1


@pytest.mark.parametrize("dtype", sorted(hand_over._DTYPES, key=str), ids=str)
@pytest.mark.parametrize(
    "view",
    [
        lambda six: six,
        lambda six: six[3],
        lambda six: six[2:2],
        lambda six: six.reshape(2, 1, 3),
        # Contiguous, as whatever has one number, and of no stride.
        lambda six: six[4].expand(1),
        lambda six: six[4].expand(1, 1),
        lambda six: six[::6],
        lambda six: six.as_strided((0,), (0,)),
        lambda six: six[1:3],
    ],
    ids=["six", "number", "none", "shaped", "expanded", "expanded twice", "stepped", "none of no stride", "part"],
)
def test_a_small_tensor_is_the_same_behind_the_pipe(dtype: torch.dtype, view: Callable[[Any], Any]) -> None:
    tensor = view(torch.arange(6).to(dtype))
    restore, arguments = hand_over._reduce_tensor(tensor)
    got = restore(*arguments)

    assert restore is hand_over._restore_small
    assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(got, tensor)
    got.fill_(1)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, dtype=torch.complex64).conj().imag,
        torch.zeros(3).to(torch.float8_e4m3fn),
        torch.zeros(3, requires_grad=True),
        torch.zeros(3, 2).t(),
        torch.zeros(1).expand(3),
        torch.zeros(2, 2).to_sparse(),
    ],
    ids=["complex", "negated", "float8", "gradients", "transposed", "expanded", "sparse"],
)
def test_an_unusual_tensor_goes_torchs_way(tensor: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_over, "reduce_tensor", lambda given: ("torch", given))

    way, given = hand_over._reduce_tensor(tensor)
    assert (way, given is tensor) == ("torch", True)


def test_a_stack_of_a_subclass_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Image(torch.Tensor):
        pass

    monkeypatch.setattr(hand_over, "collate_tensor_fn", lambda batch, collate_fn_map: ("torch", len(batch)))
    plain = [torch.zeros(3), torch.ones(3)]

    assert torch.equal(hand_over._collate_tensors(plain), torch.stack(plain))
    assert hand_over._collate_tensors([one.as_subclass(Image) for one in plain]) == ("torch", 2)
