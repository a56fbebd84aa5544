from __future__ import annotations

import pytest
import torch
from mmengine.dataset import pseudo_collate

from asyncio_loader.datasets.collate_packed import collate_packed, is_packed
from asyncio_loader.transforms.structures import DetDataSample

SAMPLES = [
    {"inputs": torch.full((3, n + 1, 2), n), "data_samples": DetDataSample(metainfo={"img_id": n})} for n in range(3)
]


def test_a_batch_is_what_mmengine_makes_and_shares_what_the_samples_have() -> None:
    batch, reference = collate_packed(SAMPLES), pseudo_collate(SAMPLES)

    assert list(reference) == list(batch)
    for key in batch:
        assert len(SAMPLES) == len(batch[key])
        assert all(ours is theirs for ours, theirs in zip(batch[key], reference[key], strict=True))


def test_a_sample_that_lacks_something_is_an_error() -> None:
    with pytest.raises(KeyError, match="inputs"):
        collate_packed([SAMPLES[0], {"data_samples": DetDataSample()}])


def test_packed_samples_are_told_from_others() -> None:
    assert is_packed(SAMPLES[0])
    assert not is_packed({"img": 1, "img_metas": 2})
    assert not is_packed(None)
