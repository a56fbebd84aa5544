"""Checkpoints on S3 load as torch loads them, and run no code unless told to."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.openmmlab.checkpoint import load_from_s3

URI = "s3://openmmlab-checkpoints/d/epoch_1.pth"

Fill = Callable[[str, Mapping[str, bytes]], None]


class Evil:
    """Unpickled, it calls what it likes."""

    def __init__(self, call: Callable[..., Any], *arguments: object) -> None:
        self.call = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def pickled(value: object, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.fixture
def put(moto_environ: object, fill: Fill) -> Callable[[bytes], None]:
    """Puts these bytes where the tests look for a checkpoint."""
    return lambda data: fill("s3://openmmlab-checkpoints/d", {"epoch_1.pth": data})


def test_weights_and_what_a_runner_saves_with_them(put: Callable[[bytes], None]) -> None:
    saved = {
        "meta": {"epoch": 1, "dataset_meta": {"classes": ("cat", "dog"), "palette": [(1, 2, 3)]}},
        "state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3)),
        "message_hub": {"log_scalars": OrderedDict(loss=HistoryBuffer([1.0, 2.0], [1, 1]))},
        "scores": np.array([0.5, 0.25], dtype=np.float32),
        "best_score": np.float64(0.5),
    }
    put(pickled(saved))

    loaded = load_from_s3(URI)

    assert loaded["meta"] == saved["meta"]
    assert torch.equal(loaded["state_dict"]["weight"], saved["state_dict"]["weight"])
    assert loaded["message_hub"]["log_scalars"]["loss"].mean() == 1.5
    assert loaded["scores"].tolist() == [0.5, 0.25]
    assert loaded["best_score"] == 0.5


def test_numpy_of_another_age(put: Callable[[bytes], None]) -> None:
    # Of torch, too: before 1.6 a checkpoint was a pickle, which a test can edit.
    data = pickled({"score": np.float64(0.5), "scores": np.array([1.0])}, _use_new_zipfile_serialization=False)
    put(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))

    assert b"numpy._core.multiarray" in data
    assert load_from_s3(URI) == {"score": 0.5, "scores": np.array([1.0])}


def test_the_map_location_is_respected(put: Callable[[bytes], None]) -> None:
    put(pickled({"weight": torch.ones(2)}))

    assert load_from_s3(URI, map_location="meta")["weight"].device.type == "meta"
    assert load_from_s3(URI, lambda storage, place: storage)["weight"].tolist() == [1.0, 1.0]


def test_a_missing_checkpoint(put: Callable[[bytes], None]) -> None:
    put(b"")

    with pytest.raises(ObjectNotFound, match=r"epoch_2\.pth"):
        load_from_s3(URI.replace("epoch_1", "epoch_2"))


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>no such page</html>", pickled({"weight": torch.ones(1000)})[:2000]],
    ids=["empty", "html", "truncated"],
)
def test_what_is_no_checkpoint(put: Callable[[bytes], None], data: bytes) -> None:
    put(data)

    with pytest.raises(ConfigError, match=f"^{URI} is (not )?a checkpoint"):
        load_from_s3(URI)


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Evil(os.system, "exit 1"), "posix.system"),
        (Evil(PurePosixPath, "a"), f"{PurePosixPath.__module__}.PurePosixPath"),  # in 3.13 pathlib._local
        (Evil(getattr, HistoryBuffer, "__init__"), "getattr"),
        (Evil(getattr, OrderedDict, "pop"), "getattr"),
    ],
)
def test_code_is_not_run(put: Callable[[bytes], None], evil: Evil, name: str) -> None:
    put(pickled({"weight": evil}))

    with pytest.raises(ConfigError, match=f"^{URI} holds '{name}', and reading it could run code: if you trust"):
        load_from_s3(URI)


def test_trust_is_the_users_to_give(put: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch) -> None:
    put(pickled({"weight": Evil(os.path.basename, "a/b")}))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

    assert load_from_s3(URI) == {"weight": "b"}
