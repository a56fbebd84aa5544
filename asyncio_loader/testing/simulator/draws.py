"""Random numbers that depend on what they are for, never on who asked first."""

from __future__ import annotations

import struct
from hashlib import blake2b

__all__ = ["draw_uniforms"]

_PAIR = struct.Struct("<QQ")


def draw_uniforms(seed: int, purpose: str, key: str, number: int) -> tuple[float, float]:
    """Two numbers above 0 and below 1 for request `number` of `key`: equal arguments, equal numbers, in any process.

    Requests race each other, so a generator that is asked in the order of arrival would give every run other numbers.
    """
    digest = blake2b(f"{seed}\0{purpose}\0{number}\0{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    first, second = _PAIR.unpack(digest)
    # 53 bits, as a float has them, and half a step up, so that neither 0 nor 1 comes out.
    return ((first >> 12) + 0.5) / 2**52, ((second >> 12) + 0.5) / 2**52
