"""Memory for what comes over the network, and for what is made of it."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections import deque
from collections.abc import Callable

__all__ = ["POOL_BYTES", "BlockPool", "allocate", "trim"]

MIB = 1024 * 1024

POOL_BYTES = 96 * MIB
"""What a `BlockPool` keeps: as much as the default window holds, and a half more for sizes that change."""

# Below, a call of the system costs more than filling with zeros.
_MAPPED_BYTES = MIB


def allocate(size_bytes: int) -> memoryview:
    """Writable memory with anything in it, as bytes.

    A large one is mapped: a `bytearray` of a gigabyte would be filled with zeros at once, which keeps the loop from
    everything else for 0.4 s, while mapped pages come one by one with the bytes. (Measured beside `numpy.empty`, whose
    huge pages take three times as long as these on a virtual machine.) Freed, it goes back to the system.

    Raises:
        MemoryError: there is not so much.
    """
    if size_bytes < _MAPPED_BYTES:
        return memoryview(bytearray(size_bytes))
    return memoryview(_map(size_bytes))


def trim() -> None:
    """Have the C library give what is free back to the system, where it can be told to (glibc, `malloc_trim(3)`).

    Else the arena of a thread that has ended keeps most of what was freed there: resident memory grew by 2 MiB each
    time that a Loader of small objects was closed and another one opened. It takes some milliseconds, without the GIL.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


def _find_malloc_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


_malloc_trim = _find_malloc_trim()


class BlockPool:
    """Memory for one object after the other, used again as soon as nobody has a view of it any more.

    Fresh memory is dear: glibc gives what is freed at the end of the heap back to the system, so that each object of
    115 KB costs 29 page faults and a filling with zeros, 40 µs on a virtual machine, as much as all the rest of its
    GET; one of 16 MB costs 5 ms. A block whose only reference is the pool's own can hold the next object; a memoryview,
    an array or a tensor made of it is a reference. Nobody has to give anything back, and whoever keeps an object keeps
    its memory.

    Blocks come in sizes of which each is at most an eighth, or 512 bytes, above the one before, and are taken in turn,
    so that the first one looked at is the one that was handed out longest ago. Beyond the limit, and for an object
    larger than a quarter of it or than `idle_bytes`, `take` gives memory from `allocate`.

    For one thread; what it hands out may be used and dropped in any.

    Args:
        limit_bytes: blocks that are kept, free or not.
        idle_bytes: free ones of them: those beyond are given back where another one is to be made, or where they were
            not used for long, the ones of a size that was made longest ago first. None: as many as `limit_bytes`, and
            all of them are given back where that is reached.
    """

    def __init__(self, limit_bytes: int = POOL_BYTES, *, idle_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._free_until_bytes = limit_bytes if idle_bytes is None else idle_bytes
        self._spared_bytes = 0 if idle_bytes is None else idle_bytes
        # Else a few blocks, of a size that hardly comes again, would take the room of all others.
        self._largest_bytes = min(limit_bytes // 4, self._free_until_bytes)
        self._held_bytes = 0
        self._takes_until_look = 0
        self._takes_until_count = _TAKES
        self._counted = 0
        # Size → the fewest free ones that were counted.
        self._least_idle: dict[int, int] = {}
        self._blocks: dict[int, deque[bytearray | mmap.mmap]] = {}
        # Without the GIL a count of references is no answer to "does anybody else have it?".
        self._counts = getattr(sys, "_is_gil_enabled", lambda: True)()

    def take(self, size_bytes: int) -> memoryview:
        """Writable memory with anything in it, as bytes."""
        block = self.find(size_bytes)
        return allocate(size_bytes) if block is None else block

    def find(self, size_bytes: int) -> memoryview | None:
        """As `take`, but of the pool's own blocks alone; None: it has none, and there is no room for another."""
        if size_bytes > self._largest_bytes or not self._counts:
            return None
        step = 1 << max(9, size_bytes.bit_length() - 4)
        block_bytes = -(-size_bytes // step) * step
        blocks = self._blocks.get(block_bytes)
        if blocks is None:
            blocks = self._blocks[block_bytes] = deque()
        for _ in range(min(_LOOKS, len(blocks))):
            if sys.getrefcount(blocks[0]) == _ONLY_OURS:
                view = memoryview(blocks[0])[:size_bytes]
                blocks.rotate(-1)
                if self._spared_bytes:
                    self._count_idle()
                return view
            blocks.rotate(-1)
        if not self._make_room(block_bytes):
            return None
        block = _make_block(block_bytes)
        blocks.append(block)
        # The last one to lose a block.
        self._blocks[block_bytes] = self._blocks.pop(block_bytes)
        self._held_bytes += block_bytes
        return memoryview(block)[:size_bytes]

    def _make_room(self, size_bytes: int) -> bool:
        """Whether there may be another block; where those that nobody uses are too many, they are forgotten first.

        Sizes change in the course of an epoch.
        """
        if self._held_bytes + size_bytes <= self._free_until_bytes:
            return True
        # Where everything is kept by somebody, looking at all of it for each object would cost more than it brings; but
        # for a large one, whose fresh pages cost more, and come on top of what lies here for nothing.
        if self._takes_until_look > 0 and size_bytes < _MAPPED_BYTES:
            self._takes_until_look -= 1
            return self._held_bytes + size_bytes <= self._limit_bytes
        self._forget_idle(None)
        self._takes_until_look = sum(map(len, self._blocks.values()))
        return self._held_bytes + size_bytes <= self._limit_bytes

    def _count_idle(self) -> None:
        """Now and then: what was free whenever it was counted is used by nobody any more."""
        self._takes_until_count -= 1
        if self._takes_until_count > 0:
            return
        for block_bytes, blocks in self._blocks.items():
            idle = sum(sys.getrefcount(blocks[place]) == _ONLY_OURS for place in range(len(blocks)))
            self._least_idle[block_bytes] = min(idle, self._least_idle.get(block_bytes, idle))
        self._takes_until_count = max(_TAKES, 2 * sum(map(len, self._blocks.values())))
        self._counted += 1
        if self._counted == _COUNTS:
            self._forget_idle(self._least_idle)
            self._counted = 0
            self._least_idle.clear()

    def _forget_idle(self, most: dict[int, int] | None) -> None:
        """Give free blocks back, but for what is to be spared; of each size so many at the most, None: all."""
        spared_bytes = self._spared_bytes
        # From the size that was made last.
        for block_bytes, blocks in reversed(self._blocks.items()):
            count = len(blocks)
            left = count if most is None else most.get(block_bytes, 0)
            for _ in range(count):
                if sys.getrefcount(blocks[0]) != _ONLY_OURS:
                    blocks.rotate(-1)
                elif spared_bytes >= block_bytes or not left:
                    spared_bytes -= block_bytes
                    blocks.rotate(-1)
                else:
                    left -= 1
                    blocks.popleft()
            self._held_bytes -= (count - len(blocks)) * block_bytes


def _make_block(size_bytes: int) -> bytearray | mmap.mmap:
    return bytearray(size_bytes) if size_bytes < _MAPPED_BYTES else _map(size_bytes)


def _map(size_bytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"there is no memory for {size_bytes} bytes") from error


_probe = deque([bytearray()])
# What a block has whose only owner is the pool's deque. Asked for with the very expression that is used above: some
# versions of Python don't count all variables.
_ONLY_OURS = sys.getrefcount(_probe[0])

# Free blocks are counted once in so many takes, or in two for each block, and what was too many in so many counts goes.
_TAKES = 32
_COUNTS = 8

# So many blocks are looked at, the oldest first, before a new one is made: some may be kept for long.
_LOOKS = 8
