from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from asyncio_loader.checkpoint.writing import save_checkpoint


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
