from __future__ import annotations

import dataclasses
import pickle

import pytest

from asyncio_loader.records import Fetched, ObjectRef


def test_fetched_pickles_even_with_a_memoryview() -> None:
    fetched = Fetched(ObjectRef("s3://b/k", 3), memoryview(b"abc"), 5, 2, 1, is_padding=True, attempts=2)

    copied = pickle.loads(pickle.dumps(fetched))

    assert copied == dataclasses.replace(fetched, data=b"abc")


def test_values_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ObjectRef("s3://b/k").uri = "s3://b/other"  # type: ignore[misc]
