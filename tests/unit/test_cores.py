from __future__ import annotations

import os

import pytest

from asyncio_loader.cores import count_cores


def test_the_cores_that_the_process_is_bound_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)

    assert count_cores() == 2


@pytest.mark.parametrize(("known", "counted"), [(6, 6), (None, 1)])
def test_those_of_the_machine_where_nothing_is_bound(
    monkeypatch: pytest.MonkeyPatch, known: int | None, counted: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: known)

    assert count_cores() == counted
