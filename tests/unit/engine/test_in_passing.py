"""The checksum of an object that is read part by part."""

from __future__ import annotations

import asyncio
import hashlib
import zlib

import pytest

from asyncio_loader.engine.in_passing import InPassing
from asyncio_loader.errors import ChecksumMismatch, ServerFault
from asyncio_loader.stores.base import ObjectInfo
from asyncio_loader.stores.checksum import Checksum

URI = "s3://bucket/key"
PARTS = [b"first", b"second", b"third"]
WHOLE = b"".join(PARTS)
RIGHT = Checksum("crc32", zlib.crc32(WHOLE).to_bytes(4, "big"))
WRONG = Checksum("crc32", b"none")


class Head:
    """Tells a checksum, and counts."""

    def __init__(self, checksum: Checksum | None, failure: Exception | None = None) -> None:
        self.asked = 0
        self._checksum = checksum
        self._failure = failure

    async def __call__(self) -> ObjectInfo:
        self.asked += 1
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        return ObjectInfo(URI, len(WHOLE), None, self._checksum)


async def take(passing: InPassing, *numbers: int) -> None:
    for number in numbers:
        await passing.take(number, PARTS[number])


@pytest.mark.parametrize("numbers", [(0, 1, 2), (0, 0, 1, 0, 1, 2), (0, 1, 2, 2, 0, 1, 2)])
async def test_parts_in_order_are_compared_with_the_last_one(numbers: tuple[int, ...]) -> None:
    right, wrong = (InPassing(URI, 3, Head(checksum)) for checksum in (RIGHT, WRONG))

    await take(right, *numbers)
    with pytest.raises(ChecksumMismatch, match=f"{URI}: .*crc32"):
        await take(wrong, *numbers)


async def test_from_then_on_every_part_is_refused() -> None:
    passing = InPassing(URI, 3, Head(WRONG))
    with pytest.raises(ChecksumMismatch):
        await take(passing, 0, 1, 2)

    for number in (0, 2, 1):
        with pytest.raises(ChecksumMismatch, match=URI):
            await take(passing, number)


@pytest.mark.parametrize("numbers", [(1, 2), (2, 0, 1, 2), (0, 2, 1, 2), (0, 1)])
async def test_whoever_leaves_parts_out_gets_no_comparison(numbers: tuple[int, ...]) -> None:
    await take(InPassing(URI, 3, Head(WRONG)), *numbers)


@pytest.mark.parametrize(("numbers", "asked"), [((0,), 0), ((0, 0), 0), ((0, 2), 0), ((2, 1), 0), ((0, 1, 2), 1)])
async def test_the_checksum_is_asked_for_once_and_only_by_who_reads_on(numbers: tuple[int, ...], asked: int) -> None:
    head = Head(RIGHT)
    await take(InPassing(URI, 3, head), *numbers)

    assert head.asked == asked


async def test_an_object_of_one_part_is_compared() -> None:
    with pytest.raises(ChecksumMismatch):
        await take(InPassing(URI, 1, Head(WRONG)), 0)


async def test_without_a_checksum_everything_passes() -> None:
    head = Head(None)
    await take(InPassing(URI, 3, head), 0, 1, 2)

    assert head.asked == 1


async def test_large_parts_are_compared() -> None:
    part = bytes(1_000_000)
    right = Checksum("sha256", hashlib.sha256(part + part).digest())
    passing = InPassing(URI, 2, Head(right))

    await passing.take(0, part)
    with pytest.raises(ChecksumMismatch, match="sha256"):
        await passing.take(1, b"!" + part[1:])


async def test_where_the_checksum_cannot_be_asked_for_that_is_told_once() -> None:
    head = Head(None, ServerFault("broken"))
    passing = InPassing(URI, 3, head)
    with pytest.raises(ServerFault):
        await take(passing, 0, 1)

    await take(passing, 1, 2)
    assert head.asked == 1


async def test_cancelling_ends_the_comparison() -> None:
    passing = InPassing(URI, 3, Head(WRONG))
    await take(passing, 0)
    task = asyncio.create_task(take(passing, 1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()
    await take(passing, 1, 2)
