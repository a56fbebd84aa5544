from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from asyncio_loader.checkpoint.writing import save_checkpoint, tensor_bytes


class FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() > 1000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_what_is_saved_can_be_loaded() -> None:
    file = io.BytesIO()
    save_checkpoint({"a": torch.ones(2)}, file)
    file.seek(0)

    assert torch.load(file, weights_only=True)["a"].tolist() == [1.0, 1.0]


def test_the_files_own_error_comes_out() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint({f"{n}": torch.ones(1000) for n in range(9)}, FullDisk())


def test_the_bytes_of_tensors_are_about_what_is_written() -> None:
    weights = torch.ones(100_000)
    value = {"state_dict": {"a": weights, "tied": weights[10:]}, "optimizer": [(torch.ones(50_000),)], "step": 3}
    file = io.BytesIO()
    save_checkpoint(value, file)

    assert tensor_bytes(value) == 600_000
    assert 600_000 < len(file.getvalue()) < 610_000
