"""A shuffle that needs no list: a keyed permutation of 0 … n − 1."""

from __future__ import annotations

import hashlib
import math

from asyncio_loader.order.computed import ComputedSequence

__all__ = ["Permutation"]

_MASK = (1 << 64) - 1

# Luby and Rackoff (1988) need 4 rounds to be indistinguishable for a polynomial adversary; small domains want more
# (Patarin 2004: 6). 8 leaves a margin, and its cost (3 µs) is a fiftieth of a GET.
_ROUNDS = 8


class Permutation(ComputedSequence):
    """A pseudo-random permutation of ``range(length)``, one per key: O(1) memory, O(1) time per element.

    A Feistel network over a × b ≥ n with a and b near √n (Black and Rogaway, "Ciphers with arbitrary finite domains",
    2002), and cycle walking for what falls outside: a × b − n < a, so that hardly any element walks at all. The
    round function is the finalizer of SplitMix64. The same key gives the same permutation on every machine and in
    every version of Python; a change of this would break the resume of a run and needs a new state version.

    Immutable, picklable, hashable by value, safe to share between threads.
    """

    __slots__ = ("_columns", "_keys", "_length", "_rows")

    def __init__(self, length: int, key: str) -> None:
        """Args: length: size of the domain, 1 or more. key: names the permutation, such as ``"seed:epoch"``."""
        self._length = length
        self._rows = max(1, math.isqrt(length - 1) + 1)
        self._columns = -(-length // self._rows)
        digest = hashlib.blake2b(key.encode(), digest_size=8 * _ROUNDS, person=b"al-order").digest()
        self._keys = tuple(int.from_bytes(digest[i : i + 8], "little") for i in range(0, len(digest), 8))

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Permutation):
            return NotImplemented
        return (self._length, self._keys) == (other._length, other._keys)

    def __hash__(self) -> int:
        return hash((self._length, self._keys))

    def position_of(self, index: int) -> int:
        """The inverse: the position at which an element stands, 0 ≤ index < length."""
        if not 0 <= index < self._length:
            raise IndexError(f"index {index} is outside 0 … {self._length - 1}")
        position = self._decipher(index)
        while position >= self._length:
            position = self._decipher(position)
        return position

    def _at(self, position: int) -> int:
        image = self._encipher(position)
        while image >= self._length:
            image = self._encipher(image)
        return image

    def _encipher(self, value: int) -> int:
        right, left = divmod(value, self._rows)
        here, there = self._rows, self._columns
        for key in self._keys:
            # The finalizer of SplitMix64 (Steele, Lea, Flood 2014), inlined: a call per round would double the time.
            mixed = (right + key) & _MASK
            mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
            left, right = right, (left + (mixed ^ (mixed >> 31))) % here
            here, there = there, here
        # After an even number of rounds the halves are back in their own ranges.
        return right * self._rows + left

    def _decipher(self, value: int) -> int:
        right, left = divmod(value, self._rows)
        # The last round, an odd one, added modulo the columns.
        here, there = self._columns, self._rows
        for key in reversed(self._keys):
            mixed = (left + key) & _MASK
            mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
            left, right = (right - (mixed ^ (mixed >> 31))) % here, left
            here, there = there, here
        return right * self._rows + left
