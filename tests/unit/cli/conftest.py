from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from asyncio_loader.cli import main, train


@pytest.fixture
def train_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``train CONFIG`` with another body, or one that raises what it is given."""

    def run(body: Callable[[argparse.Namespace], int] | BaseException, *arguments: str) -> int:
        def command(arguments: argparse.Namespace) -> int:
            if isinstance(body, BaseException):
                raise body
            return body(arguments)

        monkeypatch.setattr(train, "run", command)
        return main(["train", "config.py", *arguments])

    return run
