from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("a.b=0\n  is wrong"), 2), (ObjectNotFound("s3://b/k: no such key"), 1)]
)
def test_an_expected_error_is_one_line(
    train_with: Callable[..., int], capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert train_with(error) == code
    assert capsys.readouterr().err == f"asyncio-loader: error: {' '.join(str(error).split())}\n"


def test_a_missing_extra_is_named(train_with: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    error = ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    assert train_with(error) == 2
    assert "pip install 'asyncio-loader[train]'" in capsys.readouterr().err


def test_what_the_file_system_refuses_is_one_line(
    train_with: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_with(NotADirectoryError(20, "Not a directory", "out/x")) == 1
    assert capsys.readouterr().err == "asyncio-loader: error: out/x: Not a directory\n"
