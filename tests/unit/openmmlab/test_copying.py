"""Copies are whole or not there, trees stop at the first error, keys do not lead astray."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.fileio.backends import DiskBackend
from asyncio_loader.openmmlab.copying import copy_file, for_each, inside


def test_a_file_is_copied_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(data)

    copy_file(DiskBackend(), str(tmp_path / "a"), DiskBackend(), str(tmp_path / "b"))

    assert (tmp_path / "b").read_bytes() == data


def test_nothing_comes_of_a_missing_source(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        copy_file(DiskBackend(), str(tmp_path / "a"), DiskBackend(), str(tmp_path / "b"))

    assert list(tmp_path.iterdir()) == []


def test_every_item_is_worked_on_once() -> None:
    seen: list[int] = []

    for_each(seen.append, range(100))

    assert sorted(seen) == list(range(100))


def test_work_goes_on_at_the_same_time() -> None:
    together = threading.Barrier(8, timeout=60)

    for_each(lambda _: together.wait() and None, range(8))


def test_the_first_error_is_raised_and_ends_it() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ObjectNotFound("number 3")

    with pytest.raises(ObjectNotFound, match="number 3"):
        for_each(work, range(10_000))

    assert len(begun) < 10_000


@pytest.mark.parametrize("name", ["a", "a/b..c", "..a/b", "a//b"])
def test_names_within_the_directory(name: str) -> None:
    assert inside(name) == name


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", ".."])
def test_names_that_lead_out(name: str) -> None:
    with pytest.raises(ConfigError, match="outside of the local directory"):
        inside(name)
