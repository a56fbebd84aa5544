"""Which sample stands in for one that failed. Arithmetic only."""

from __future__ import annotations

import hashlib

__all__ = ["substitute_position"]


def substitute_position(length: int, *, seed: int, epoch: int, position: int, attempt: int) -> int:
    """Position of the `attempt`-th (from 1) substitute for the sample at a position, in an epoch of a length.

    Even over all positions, and the same on every rank, worker and machine.
    """
    key = f"{seed}:{epoch}:{position}:{attempt}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, person=b"al-stand-in").digest(), "little") % length
