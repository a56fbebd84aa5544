from __future__ import annotations

import errno
import mmap
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.bridge import shared_blocks
from asyncio_loader.bridge.shared_blocks import Sent, SharedBlocks, can_share, most_blocks_of, receive

KIB = 1024
PAGE = mmap.PAGESIZE

pytestmark = pytest.mark.skipif(not can_share(), reason="needs memfd_create")


class File:
    """A descriptor that crosses no process; what `DupFd` is between two."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def detach(self) -> int:
        return self._descriptor


class Parent:
    pid = os.getpid()


@pytest.fixture(autouse=True, params=["by name", "by connection"])
def in_one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shared_blocks, "DupFd", File)
    monkeypatch.setattr(shared_blocks.multiprocessing, "parent_process", Parent)
    if request.param == "by connection":
        monkeypatch.setattr(shared_blocks, "_may_open", lambda pid: False)
    yield
    assert not shared_blocks._readings


def address(memory: Any) -> int:
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])


def taken(blocks: SharedBlocks, size_bytes: int) -> memoryview:
    memory = blocks.take(size_bytes)
    assert memory is not None
    return memory


def sent(blocks: SharedBlocks, memory: memoryview) -> Sent:
    handle = blocks.send(address(memory), len(memory))
    assert handle is not None
    return handle


def test_what_was_written_is_read() -> None:
    blocks = SharedBlocks(100 * KIB)
    memory = taken(blocks, 10_000)
    memory[:] = b"a" * 10_000
    read = receive(sent(blocks, memory))

    assert read[:] == b"a" * 10_000
    # The reader may write to it, too.
    read[:3] = b"bcd"
    assert read[:4] == b"bcda"


@pytest.mark.parametrize("size_bytes", [1, PAGE, PAGE + 1, 100_000, 1_000_001])
def test_a_block_is_so_many_bytes_and_little_more(size_bytes: int) -> None:
    blocks = SharedBlocks(2 * 1024 * KIB)
    memory = taken(blocks, size_bytes)

    assert (len(memory), memory.readonly, address(memory) % PAGE) == (size_bytes, False, 0)
    (block,) = blocks._blocks.values()
    assert size_bytes <= block.size_bytes <= max(PAGE, size_bytes * 9 // 8 + PAGE)


def test_it_is_used_again_when_neither_side_has_anything_of_it() -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 10_000)
    first = address(memory)
    other = taken(blocks, 10_000)
    assert address(other) != first

    handle = sent(blocks, memory)
    del memory
    on_its_way = taken(blocks, 10_000)
    assert address(on_its_way) not in (first, address(other))
    read = receive(handle)
    unread = taken(blocks, 10_000)
    assert address(unread) != first
    del read
    again = taken(blocks, 10_000)
    assert address(again) == first


@pytest.mark.parametrize(
    "keep",
    [
        lambda read: read,
        lambda read: memoryview(read)[5:9],
        lambda read: np.frombuffer(read, np.uint8),
        lambda read: np.frombuffer(read, np.uint8)[8:16].view(np.int32),
        lambda read: torch.frombuffer(read, dtype=torch.uint8),
        lambda read: torch.frombuffer(read, dtype=torch.float32).reshape(2, -1)[1],
        lambda read: torch.frombuffer(read, dtype=torch.uint8).numpy()[4:],
        lambda read: {"deep": [torch.frombuffer(read, dtype=torch.uint8)[3:5].view(torch.int8)]},
        lambda read: iter(memoryview(read)),
    ],
)
@pytest.mark.parametrize("side", ["reader", "writer"])
def test_whoever_keeps_anything_of_it_keeps_all(keep: Any, side: str) -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 8000)
    first = address(memory)
    handle = sent(blocks, memory)
    kept = keep(receive(handle)) if side == "reader" else keep(memory)
    if side == "writer":
        receive(handle)
    del memory

    assert address(taken(blocks, 8000)) != first
    del kept
    free = [address(block.memory) for block in blocks._find_free()]
    assert first in free


def test_each_of_several_readers_counts() -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 8000)
    first = address(memory)
    readers = [receive(sent(blocks, memory)) for _ in range(3)]
    del memory
    for _ in range(3):
        assert address(taken(blocks, 8000)) != first
        readers.pop(1 if len(readers) > 1 else 0)

    assert address(taken(blocks, 8000)) == first


def test_what_never_arrives_is_not_used_again() -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 8000)
    first = address(memory)
    os.close(sent(blocks, memory).file.detach())
    del memory

    assert address(taken(blocks, 8000)) != first


def test_there_is_no_more_than_the_limit_and_other_sizes_make_room() -> None:
    blocks = SharedBlocks(10 * PAGE)
    one, two = taken(blocks, 4 * PAGE), taken(blocks, 4 * PAGE)
    assert blocks.take(4 * PAGE) is None
    assert blocks.take(11 * PAGE) is None

    handle = sent(blocks, one)
    del one
    # It is on its way.
    assert blocks.take(8 * PAGE) is None
    read = receive(handle)
    assert blocks.take(6 * PAGE) is None
    del read
    assert len(taken(blocks, 6 * PAGE)) == 6 * PAGE
    assert sum(block.size_bytes for block in blocks._blocks.values()) == 10 * PAGE
    two[:1] = b"x"


def test_there_are_no_more_than_so_many_and_those_that_nobody_has_make_room() -> None:
    blocks = SharedBlocks(1000 * PAGE, most_blocks=2)
    first, second = blocks.take(PAGE), blocks.take(2 * PAGE)
    assert first is not None
    assert second is not None
    assert blocks.take(4 * PAGE) is None

    del first

    assert blocks.take(4 * PAGE) is not None


def test_where_the_system_has_no_more_files_there_is_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    blocks = SharedBlocks(1000 * PAGE)
    with monkeypatch.context() as system:
        system.setattr(os, "memfd_create", refuse)
        assert blocks.take(PAGE) is None

    assert blocks.take(PAGE) is not None


def test_writers_share_a_part_of_the_files_that_a_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert [most_blocks_of(writers) for writers in (0, 1, 2, 8)] == [85, 85, 42, 10]

    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert most_blocks_of(2) > 100_000


def test_memory_of_others_is_no_block() -> None:
    blocks = SharedBlocks(10 * PAGE)
    memory = taken(blocks, PAGE)

    assert blocks.send(address(bytearray(100)), 100) is None
    assert blocks.send(address(memory) + 1, 10) is None
    assert blocks.send(address(memory), 2 * PAGE) is None


def test_a_block_is_sent_no_more_often_than_it_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = SharedBlocks(10 * PAGE)
    memory = taken(blocks, PAGE)
    (block,) = blocks._blocks.values()
    block.sent = PAGE

    assert blocks.send(address(memory), PAGE) is None


def fork_and_end(look: Any) -> int:
    """A child that looks, and ends without a word of goodbye; its exit status, 7 if it saw what it should."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(7 if look() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_a_forked_child_reads_as_well_is_never_filled_again() -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 8000)
    memory[:1] = b"x"
    held = [receive(sent(blocks, memory))]
    # Another process writes, in truth: it does not fork.
    shared_blocks._pools.discard(blocks)
    (block,) = blocks._blocks.values()
    del memory
    assert fork_and_end(lambda: held[0][:1] == b"x") == 7
    held.clear()

    memory = taken(blocks, 8000)
    assert block not in blocks._blocks.values()
    # What comes after the fork is as before it.
    first = address(memory)
    receive(sent(blocks, memory))
    del memory
    assert address(taken(blocks, 8000)) == first


def test_the_end_of_a_mapping_in_a_child_says_nothing() -> None:
    blocks = SharedBlocks(1000 * KIB)
    shared_blocks._pools.discard(blocks)
    read = [receive(sent(blocks, taken(blocks, 8000)))]
    (block,) = blocks._blocks.values()

    def end() -> bool:
        read.clear()
        return True

    assert fork_and_end(end) == 7
    assert block.answers() == b"\0"
    read.clear()
    assert block.answers() == b"\2"


def test_a_writer_that_forks_forgets_its_blocks() -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 8000)
    first = address(memory)
    assert fork_and_end(lambda: True) == 7

    assert blocks._blocks == {}
    assert blocks.send(first, 8000) is None
    memory[:3] = b"abc"


def test_a_block_that_is_on_its_way_arrives_though_its_writer_forks_meanwhile() -> None:
    blocks = SharedBlocks(1000 * KIB)
    memory = taken(blocks, 8000)
    memory[:3] = b"abc"
    handle = sent(blocks, memory)
    (block,) = blocks._blocks.values()
    del memory
    assert fork_and_end(lambda: True) == 7

    assert blocks._last_sent == [block]
    read = receive(handle)
    assert read[:3] == b"abc"
    taken(blocks, 8000)
    assert blocks._last_sent == [block]
    del read
    taken(blocks, 8000)
    assert blocks._last_sent == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(block._file)


def test_a_file_that_came_to_have_the_number_is_not_taken_for_the_block() -> None:
    file = os.memfd_create("one")
    handle = shared_blocks._OpenFile(os.getpid(), file, os.fstat(file).st_ino)
    other = os.memfd_create("other")
    os.close(handle.detach())
    os.dup2(other, file)
    files = len(os.listdir("/proc/self/fd"))

    with pytest.raises(FileNotFoundError, match="has closed it"):
        handle.detach()
    assert len(os.listdir("/proc/self/fd")) == files
    os.close(other)
    os.close(file)
    with pytest.raises(FileNotFoundError):
        handle.detach()


def test_where_one_may_not_look_at_the_other_s_files_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(path)

    monkeypatch.undo()
    shared_blocks._may_open.cache_clear()
    assert shared_blocks._may_open(os.getpid())
    shared_blocks._may_open.cache_clear()
    monkeypatch.setattr(os, "listdir", refuse)
    try:
        assert not shared_blocks._may_open(os.getpid())
    finally:
        shared_blocks._may_open.cache_clear()


def test_without_counts_of_references_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)

    assert not can_share()
