from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from asyncio_loader.checkpoint.reading import load_checkpoint
from asyncio_loader.checkpoint.safe_types import Allowance, safe_types


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = torch.serialization.get_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_what_the_user_allowed_stays_allowed() -> None:
    torch.serialization.add_safe_globals([HistoryBuffer, np.ndarray])

    with Allowance():
        assert set(safe_types()) <= set(torch.serialization.get_safe_globals())

    assert {HistoryBuffer, np.ndarray} <= set(torch.serialization.get_safe_globals())


def test_nothing_else_stays() -> None:
    before = set(torch.serialization.get_safe_globals())
    with Allowance():
        pass

    assert set(torch.serialization.get_safe_globals()) == before


def test_the_first_to_leave_takes_nothing_from_the_others() -> None:
    allowance = Allowance()
    with allowance:
        with allowance:
            pass

        assert HistoryBuffer in torch.serialization.get_safe_globals()


def test_threads_read_at_the_same_time() -> None:
    data = io.BytesIO()
    torch.save({"log": HistoryBuffer([1.0], [1])}, data)
    one_is_inside, other_is_done = threading.Event(), threading.Event()

    class SlowFile(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            one_is_inside.set()
            other_is_done.wait(60)
            return super().readinto(buffer)

    results: list[Any] = []

    def read(file: io.BytesIO) -> None:
        results.append(load_checkpoint(file, "a.pth", may_run_code=False, advice=""))

    slow = threading.Thread(target=read, args=(SlowFile(data.getvalue()),))
    slow.start()
    assert one_is_inside.wait(60)
    read(io.BytesIO(data.getvalue()))
    other_is_done.set()
    slow.join(60)

    assert [result["log"].mean() for result in results] == [1.0, 1.0]
