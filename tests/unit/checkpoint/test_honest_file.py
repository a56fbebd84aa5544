from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from asyncio_loader.checkpoint.honest_file import HonestFile
from asyncio_loader.errors import ConnectionLost


def torn_file(error: BaseException, *, is_zip: bool) -> io.BytesIO:
    """A checkpoint that cannot be read where its tensors begin."""

    class TornFile(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            if len(buffer) > 9000:
                raise error
            return super().readinto(buffer)

    data = io.BytesIO()
    torch.save({"a": torch.ones(9999)}, data, _use_new_zipfile_serialization=is_zip)
    return TornFile(data.getvalue())


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kind", [ConnectionLost, KeyboardInterrupt])
def test_the_error_of_the_file_comes_out(kind: type[BaseException], is_zip: bool) -> None:
    error = kind("reset")
    file = HonestFile(torn_file(error, is_zip=is_zip))

    with pytest.raises(kind) as caught, file.errors():
        torch.load(file, weights_only=True)

    assert caught.value is error


def test_an_error_of_anybody_else_comes_out() -> None:
    file = HonestFile(io.BytesIO(b"nothing"))

    with pytest.raises(ZeroDivisionError), file.errors():
        _ = 1 / 0


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_without_errors_is_read(is_zip: bool) -> None:
    data = io.BytesIO()
    torch.save({"a": torch.arange(5)}, data, _use_new_zipfile_serialization=is_zip)
    data.seek(0)
    file = HonestFile(data)

    with file.errors():
        values = torch.load(file, weights_only=True)

    assert values["a"].tolist() == [0, 1, 2, 3, 4]
