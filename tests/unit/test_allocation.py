"""Memory for bodies."""

from __future__ import annotations

import gc
import mmap
import os
import platform
import random
import sys
import threading
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch

from asyncio_loader import allocation
from asyncio_loader.allocation import BlockPool, allocate, trim

MIB = 1024 * 1024


@pytest.mark.parametrize("size_bytes", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 5_000_001])
def test_it_is_so_many_writable_bytes(size_bytes: int) -> None:
    memory = allocate(size_bytes)
    memory[:] = b"x" * size_bytes

    assert (len(memory), memory.format) == (size_bytes, "B")
    assert memory == b"x" * size_bytes


@pytest.mark.parametrize("size_bytes", [10**15, 2**63 - 1, 2**63, 2**70])
def test_more_than_there_is_is_told(size_bytes: int) -> None:
    with pytest.raises(MemoryError, match=f"there is no memory for {size_bytes} bytes"):
        allocate(size_bytes)


# Blocks.


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


@pytest.mark.parametrize("size_bytes", [0, 1, 511, 512, 513, 115_000, MIB - 1, MIB, 3 * MIB])
def test_a_block_is_so_many_writable_bytes(size_bytes: int) -> None:
    memory = BlockPool().take(size_bytes)
    memory[:] = b"x" * size_bytes

    assert (len(memory), memory.format, memory.readonly) == (size_bytes, "B", False)


@pytest.mark.parametrize("size_bytes", [115_000, 1_100_000, 16_000_000])
def test_a_block_that_nobody_has_is_used_again(size_bytes: int) -> None:
    pool = BlockPool()
    first = _address(pool.take(size_bytes))

    # Of another size, but of the same step.
    sizes = [size_bytes, size_bytes + 1000, size_bytes]
    assert [_address(pool.take(size_bytes)) for size_bytes in sizes] == [first] * 3


@pytest.mark.parametrize("size_bytes", [3000, MIB])
@pytest.mark.parametrize(
    "keep",
    [
        lambda view: view,
        lambda view: view[10:20],
        lambda view: view.cast("B"),
        lambda view: memoryview(view),
        lambda view: view.toreadonly(),
        lambda view: iter(view),
        lambda view: np.frombuffer(view, np.uint8),
        lambda view: np.frombuffer(view, np.uint8)[5:9].reshape(2, 2),
        lambda view: np.asarray(view),
        lambda view: torch.frombuffer(view, dtype=torch.uint8),
        lambda view: torch.frombuffer(view, dtype=torch.uint8)[3:].view(torch.int8),
        lambda view: torch.from_numpy(np.frombuffer(view, np.uint8)),
        lambda view: torch.frombuffer(view, dtype=torch.uint8).numpy()[1:2],
        lambda view: {"nested": [np.frombuffer(view, np.uint8).T]},
        lambda view: view.obj,
    ],
    ids=lambda _: "",
)
def test_a_block_is_not_handed_out_while_anything_of_it_lives(keep: object, size_bytes: int) -> None:
    assert callable(keep)
    pool = BlockPool()
    view = pool.take(size_bytes)
    address = _address(view)
    kept = keep(view)
    del view

    others = [pool.take(size_bytes) for _ in range(20)]
    assert address not in [_address(other) for other in others]

    del kept, others
    gc.collect()
    assert address in [_address(view) for view in [pool.take(size_bytes) for _ in range(21)]]


def test_blocks_in_use_never_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    pool = BlockPool(limit_bytes=MIB)
    held: deque[tuple[memoryview, int]] = deque()
    # Such as are mapped, among them.
    monkeypatch.setattr(allocation, "_MAPPED_BYTES", 20_000)
    for number in range(20_000):
        view = pool.take(rng.choice([0, 1, 600, 3000, 3100, 20_000, 40_000]))
        mark = number % 251
        view[:] = bytes([mark]) * len(view)
        held.append((view, mark))
        while len(held) > rng.randrange(1, 60):
            held.rotate(rng.randrange(len(held)))
            old, old_mark = held.popleft()
            assert not old or (old[0], old[-1], old.tobytes().count(old_mark)) == (old_mark, old_mark, len(old))


def test_what_another_thread_keeps_is_kept() -> None:
    pool = BlockPool()
    taken: list[memoryview] = [pool.take(3000)]
    address = _address(taken[0])
    has_taken, may_drop = threading.Event(), threading.Event()

    def keep() -> None:
        kept = np.frombuffer(taken.pop(), np.uint8)
        has_taken.set()
        may_drop.wait()
        del kept

    thread = threading.Thread(target=keep)
    thread.start()
    has_taken.wait()
    assert _address(pool.take(3000)) != address
    may_drop.set()
    thread.join()

    assert address in [_address(view) for view in [pool.take(3000) for _ in range(2)]]


def test_no_more_is_kept_than_the_limit() -> None:
    pool = BlockPool(limit_bytes=100_000)
    views = [pool.take(10_000) for _ in range(50)]

    assert len({_address(view) for view in views}) == 50
    assert pool._held_bytes <= 100_000
    assert sum(len(block) for blocks in pool._blocks.values() for block in blocks) == pool._held_bytes


def test_a_large_object_finds_the_room_that_was_not_there_a_moment_ago() -> None:
    pool = BlockPool(limit_bytes=16 << 20)
    kept = [pool.take(1 << 20) for _ in range(14)]
    pool.take(4 << 20)
    assert pool._held_bytes == 14 << 20

    # Blocks that nobody has must not lie beside memory that is fresh for each object.
    kept.clear()
    pool.take(4 << 20)
    assert pool._held_bytes == 4 << 20


def test_room_for_another_size_comes_from_blocks_that_nobody_has() -> None:
    pool = BlockPool(limit_bytes=100_000)
    kept = [pool.take(10_000) for _ in range(9)]
    del kept[3:]
    address = _address(pool.take(20_000))

    assert address == _address(pool.take(20_000))
    assert len(pool._blocks[10_240]) == 3
    assert pool._held_bytes == sum(len(block) for blocks in pool._blocks.values() for block in blocks) <= 100_000
    assert len({_address(view) for view in kept}) == 3


def test_what_lies_idle_is_bounded_once_another_size_is_wanted() -> None:
    pool = BlockPool(limit_bytes=1000 * MIB, idle_bytes=5 * MIB)
    kept = [pool.take(MIB) for _ in range(50)]
    other = [pool.take(2 * MIB) for _ in range(5)]
    assert pool._held_bytes == 60 * MIB

    # 40 of the first size are free, and 4 of the second, which was made last.
    del kept[10:], other[1:]
    # Nothing is given back while there is one to take.
    assert len(pool.take(MIB)) == MIB
    assert pool._held_bytes == 60 * MIB
    another = pool.take(3 * MIB)

    assert len(another) == 3 * MIB
    # Beside what is in use: two of the second size, and one of the first.
    sizes = {size // MIB: len(blocks) for size, blocks in pool._blocks.items()}
    assert sizes == {1: 11, 2: 3, 3: 1}
    assert pool._held_bytes == 20 * MIB


def test_what_nobody_uses_for_long_is_given_back_though_nothing_is_missing() -> None:
    pool = BlockPool(limit_bytes=1000 * MIB, idle_bytes=5 * MIB)
    # Somebody has collected a hundred, and dropped them.
    kept = [pool.take(MIB) for _ in range(100)]
    del kept[:]
    assert pool._held_bytes == 100 * MIB
    for _ in range(5000):
        held = [pool.take(MIB) for _ in range(3)]
    assert len(held) == 3

    # What is used, and what may lie idle.
    assert pool._held_bytes <= 10 * MIB


def test_what_is_used_now_and_then_is_not_given_back() -> None:
    pool = BlockPool(limit_bytes=1000 * MIB, idle_bytes=5 * MIB)
    addresses = set()
    for _ in range(300):
        # A batch of sixteen is dropped as a whole.
        batch = [pool.take(MIB) for _ in range(16)]
        addresses |= set(map(_address, batch))
        del batch

    assert len(addresses) <= 2 * 16


def test_where_everything_is_kept_the_pool_is_not_searched_for_each_object(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = BlockPool(limit_bytes=1000 * 1024)
    kept = [pool.take(1024) for _ in range(1000)]
    looks = 0

    class CountingSys:
        @staticmethod
        def getrefcount(block: object) -> int:
            nonlocal looks
            looks += 1
            return sys.getrefcount(block)

    monkeypatch.setattr(allocation, "sys", CountingSys)
    for _ in range(1000):
        pool.take(2048)

    assert len(kept) == 1000
    assert looks < 20 * 1000


@pytest.mark.parametrize("size_bytes", [1, 512, 513, 5000, 115_000, 700_000, MIB - 1, MIB, 5_000_001])
def test_no_block_is_more_than_an_eighth_or_512_bytes_too_large(size_bytes: int) -> None:
    pool = BlockPool()
    view = pool.take(size_bytes)

    assert len(view.obj) <= max(size_bytes + 512, size_bytes * 9 / 8 + 1)  # type: ignore[arg-type]


def test_what_would_take_more_than_a_quarter_of_the_room_is_none_of_the_pools() -> None:
    pool = BlockPool(limit_bytes=4 * MIB)
    pool.take(MIB + 1)
    assert pool._held_bytes == 0

    pool.take(MIB)
    assert pool._held_bytes == MIB


def test_find_gives_blocks_of_the_pool_alone() -> None:
    pool = BlockPool(limit_bytes=4 * MIB)
    kept = [pool.find(MIB) for _ in range(5)]

    assert [block is None for block in kept] == [False] * 4 + [True]
    assert pool.find(MIB + 1) is None
    assert pool._held_bytes == 4 * MIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_large_blocks_that_are_forgotten_go_back_to_the_system() -> None:
    pool = BlockPool(limit_bytes=64 * MIB)
    views = [pool.take(15 * MIB) for _ in range(4)]
    for view in views:
        view[:] = bytes(len(view))
    before = _resident_bytes()
    del view, views
    assert before - _resident_bytes() < MIB

    # One of another size has no room beside them.
    assert len(pool.take(8 * MIB)) == 8 * MIB
    assert before - _resident_bytes() > 50 * MIB


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE


def test_without_counts_of_references_nothing_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    pool = BlockPool()
    pool.take(3000)

    assert (pool._held_bytes, pool._blocks) == (0, {})


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep nothing, or cannot be told")
def test_what_a_thread_has_freed_is_the_system_s_again() -> None:
    def resident_bytes() -> int:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def use() -> None:
        blocks = [bytearray(b"x" * 60_000) for _ in range(1000)]
        # The arena ends with one that stays, so that nothing of it is given back by itself.
        kept.append(bytearray(b"x" * 60_000))
        del blocks

    kept: list[bytearray] = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    before = resident_bytes()
    trim()

    assert before - resident_bytes() > 40_000_000
