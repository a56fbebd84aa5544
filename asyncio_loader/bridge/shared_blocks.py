"""Shared memory that one process fills and another reads, filled anew when the reader has nothing of it left.

Fresh pages are dear: to move a float32 image of 1088 × 800 from a worker to its parent took 10 ms of CPU time, 7 of
them in the worker, and takes 1 ms where the pages are there already (two cores of a virtual machine, 2026-11-26).

The writer has blocks, each a file in memory (`memfd_create`) whose first page has a byte for every time the block was
sent. The reader maps the block; when the mapping goes, with the last view of it, it writes its byte. The writer fills a
block anew when it has no view of it itself and each of those bytes is written.

What must not happen is that a block is filled which somebody reads:

* A reader that forks has a child with the same mappings. So before a fork all that is held is marked to be kept: its
  byte will say so, and the writer forgets the block. In the child the end of a mapping says nothing. A writer that
  forks forgets its blocks.
* A block may be sent several times, to several readers: each sending has a byte of its own, so that nobody counts.
* What was sent and never arrived has its byte unwritten for ever. The block is not used again.
* What a reader hands on to a third process is copied: for multiprocessing and torch it is private memory.

The reader opens the file by its name below ``/proc`` of the writer. To send a descriptor, as multiprocessing's `DupFd`
does, takes a connection, a handshake with secrets, and a thread that holds the writer's GIL for it: 0.45 ms for each
sending, next to 0.02. It is what remains where one may not look at the other's files.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import multiprocessing
import os
import sys
import threading
import weakref
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any

__all__ = ["Sent", "SharedBlocks", "can_share", "most_blocks_of", "receive"]

_HEADER_BYTES = mmap.PAGESIZE
_PENDING, _READ, _KEPT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Sent:
    """A block on its way to a reader; it pickles between processes, once.

    Attributes:
        file: of the block: its `detach` gives a descriptor in the process that it came to.
        slot: which byte of the first page is this sending's.
        size_bytes: how much of the block was filled.
    """

    file: Any
    slot: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _OpenFile:
    """A file that another process has open.

    Attributes:
        pid: of that process.
        descriptor: there.
        inode: what tells it from another file that came to have the number since.
    """

    pid: int
    descriptor: int
    inode: int

    def detach(self) -> int:
        """A descriptor of it in this process. Raises OSError where the other process, or the file, is gone."""
        path = f"/proc/{self.pid}/fd/{self.descriptor}"
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(file).st_ino != self.inode:
            os.close(file)
            raise FileNotFoundError(errno.ENOENT, "the process that sent this file has closed it", path)
        return file


@functools.cache
def _may_open(pid: int) -> bool:
    """Whether this process and `pid` may open each other's files: what holds for one holds for the other."""
    try:
        os.listdir(f"/proc/{pid}/fd")
        file = os.memfd_create("asyncio-loader", os.MFD_CLOEXEC)
        try:
            os.close(os.open(f"/proc/self/fd/{file}", os.O_RDWR | os.O_CLOEXEC))
        finally:
            os.close(file)
    except OSError:
        return False
    return True


class _Block:
    """Attributes:
    memory: what is filled; whoever has a view of it has a reference.
    address: of the memory.
    sent: how often it was sent since it was last taken.
    """

    __slots__ = ("_file", "_header", "address", "memory", "sent", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.sent = 0
        self._file = os.memfd_create("asyncio-loader", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._file, _HEADER_BYTES + size_bytes)
            self._header = mmap.mmap(self._file, _HEADER_BYTES)
            self.memory = mmap.mmap(self._file, size_bytes, offset=_HEADER_BYTES)
        except BaseException:
            os.close(self._file)
            raise
        self.address = _address_of(self.memory)

    def is_held_here(self) -> bool:
        return sys.getrefcount(self.memory) != _ONLY_OURS

    def answers(self) -> bytes:
        """What the readers have said of each sending."""
        return self._header[: self.sent]

    def reset(self) -> None:
        self._header[: self.sent] = bytes(self.sent)
        self.sent = 0

    def send(self, size_bytes: int) -> Sent | None:
        if self.sent == _HEADER_BYTES:
            return None
        self.sent += 1
        return Sent(self._handle(), self.sent - 1, size_bytes)

    def _handle(self) -> Any:
        reader = multiprocessing.parent_process()
        if reader is None or reader.pid is None or not _may_open(reader.pid):
            return DupFd(self._file)
        return _OpenFile(os.getpid(), self._file, os.fstat(self._file).st_ino)

    def is_on_its_way(self) -> bool:
        """Whether a reader has still to find the file, or to say that it needs the memory no longer."""
        return _PENDING in self.answers()

    def forget(self) -> None:
        """Its memory stays as long as anybody maps it."""
        os.close(self._file)


class SharedBlocks:
    """The writer's side: blocks of which so many bytes are there at once. For any thread of the process that made it.

    Args:
        limit_bytes: of blocks, in use or not. A block has at most an eighth more than was asked for.
        most_blocks: how many. Each is three open files here, for as long as it is kept, and two in its reader, for as
            long as that reads it: see `most_blocks_of`.
    """

    def __init__(self, limit_bytes: int, *, most_blocks: int = 1 << 20) -> None:
        self._limit_bytes = limit_bytes
        self._most_blocks = most_blocks
        self._lock = threading.Lock()
        self._blocks: dict[int, _Block] = {}
        # Their files stay open until they were read.
        self._last_sent: list[_Block] = []
        _pools.add(self)

    def forget(self) -> None:
        """Use none of the blocks again: a fork is about to give a child views of them."""
        with self._lock:
            self._last_sent += self._blocks.values()
            self._blocks.clear()
            self._close_what_was_read()

    def take(self, size_bytes: int) -> memoryview | None:
        """Writable memory with anything in it, page-aligned; None: there is none, and no room for more."""
        step = max(mmap.PAGESIZE, 1 << max(0, size_bytes.bit_length() - 4))
        block_bytes = -(-size_bytes // step) * step
        with self._lock:
            free = self._find_free()
            block = next((block for block in free if block.size_bytes == block_bytes), None)
            if block is None:
                block = self._make(block_bytes, free)
            if block is None:
                return None
            block.reset()
            return memoryview(block.memory)[:size_bytes]

    def send(self, address: int, size_bytes: int) -> Sent | None:
        """Have a block read by another process, to which the result has to be sent; None: it is no block of these.

        Args:
            address: where the block begins.
            size_bytes: how much of it was taken.
        """
        with self._lock:
            block = self._blocks.get(address)
            if block is None or size_bytes > block.size_bytes:
                return None
            return block.send(size_bytes)

    def _find_free(self) -> list[_Block]:
        """Blocks that nobody has; forgets those that somebody keeps for good."""
        if self._last_sent:
            self._close_what_was_read()
        free = []
        for address, block in list(self._blocks.items()):
            if block.is_held_here():
                continue
            if block.is_on_its_way():
                continue
            if _KEPT in block.answers():
                self._blocks.pop(address).forget()
            else:
                free.append(block)
        return free

    def _close_what_was_read(self) -> None:
        waiting = [block for block in self._last_sent if block.is_on_its_way()]
        for block in self._last_sent:
            if block not in waiting:
                block.forget()
        self._last_sent = waiting

    def _make(self, size_bytes: int, free: list[_Block]) -> _Block | None:
        """A new block, in the place of free ones of other sizes if it must be."""
        held_bytes = sum(block.size_bytes for block in self._blocks.values())
        for block in free:
            if self._has_room(held_bytes + size_bytes):
                break
            held_bytes -= block.size_bytes
            self._blocks.pop(block.address).forget()
        if not self._has_room(held_bytes + size_bytes):
            return None
        try:
            block = _Block(size_bytes)
        except OSError:
            # Others have taken the files, or the memory: what it was for goes the way of everybody else.
            return None
        self._blocks[block.address] = block
        return block

    def _has_room(self, total_bytes: int) -> bool:
        return total_bytes <= self._limit_bytes and len(self._blocks) + len(self._last_sent) < self._most_blocks


def most_blocks_of(writers: int) -> int:
    """How many blocks each of so many writers for one reader may have.

    All of them together are a quarter of the files that one writer alone may have open, of which the system mostly
    allows 1,024 (``ulimit -n``), and a sixth of those of the reader: what finds no block goes torch's way, and takes a
    file for each tensor, too. (Python's `mmap` opens a file of its own for each mapping.)
    """
    # Unix alone has it.
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if files == resource.RLIM_INFINITY else files // (12 * max(1, writers))


class _Reading:
    """One mapping of a block in this process."""

    __slots__ = ("__weakref__", "_header", "_pid", "_slot", "is_kept")

    def __init__(self, header: mmap.mmap, slot: int) -> None:
        self._header = header
        self._slot = slot
        self._pid = os.getpid()
        self.is_kept = False

    def end(self) -> None:
        _readings.discard(self)
        # A forked child has not read it.
        if os.getpid() == self._pid:
            self._header[self._slot] = _KEPT if self.is_kept else _READ


_readings: set[_Reading] = set()
_pools: weakref.WeakSet[SharedBlocks] = weakref.WeakSet()


def _keep_all() -> None:
    for reading in list(_readings):
        reading.is_kept = True
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_keep_all)


def receive(sent: Sent) -> mmap.mmap:
    """The reader's side: the memory of a block, private to whoever has it until the last view of it is gone.

    Raises:
        OSError: the writer is gone.
    """
    file = sent.file.detach()
    try:
        header = mmap.mmap(file, _HEADER_BYTES)
        memory = mmap.mmap(file, sent.size_bytes, offset=_HEADER_BYTES)
    finally:
        os.close(file)
    reading = _Reading(header, sent.slot)
    _readings.add(reading)
    # With the mapping itself: an array or a tensor of it refers to it, however they refer to each other.
    weakref.finalize(memory, reading.end).atexit = False
    return memory


def _address_of(memory: mmap.mmap) -> int:
    anchor = ctypes.c_char.from_buffer(memory)
    return ctypes.addressof(anchor)


class _Probe:
    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 1)

    def count(self) -> int:
        return sys.getrefcount(self.memory)


# What the memory of a block has that nobody else refers to, asked for as above.
_ONLY_OURS = _Probe().count()


def can_share() -> bool:
    """Whether this system has such memory, and this Python counts references."""
    return hasattr(os, "memfd_create") and getattr(sys, "_is_gil_enabled", lambda: True)()
