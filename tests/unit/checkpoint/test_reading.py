"""What can be wrong with a file is tested where training and the plug-in read theirs; here what both can choose."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.checkpoint.reading import load_checkpoint
from asyncio_loader.errors import ConfigError


def saved(value: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def load(file: io.BytesIO, **options: Any) -> Any:
    return load_checkpoint(file, "a.pth", **{"may_run_code": False, "advice": "say so", **options})


def test_tensors_go_where_the_caller_wants_them() -> None:
    file = saved({"a": torch.ones(2)})

    assert load(file)["a"].device.type == "cpu"
    file.seek(0)
    assert load(file, map_location="meta")["a"].device.type == "meta"


def test_what_could_run_code_is_refused_with_the_callers_advice() -> None:
    with pytest.raises(ConfigError, match=r"^a\.pth holds 'pathlib\.\w+', and reading it could run code: .*, say so$"):
        load(saved({"where": Path("/a")}))


def test_trust_is_the_callers_to_give() -> None:
    assert load(saved({"where": Path("/a")}), may_run_code=True) == {"where": Path("/a")}
