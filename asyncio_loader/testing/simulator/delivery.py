"""An answer on its way: the bytes that leave, how fast, and what becomes of the connection then. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from asyncio_loader.testing.simulator.answers import Answer
from asyncio_loader.testing.simulator.faults import Fault

__all__ = ["Delivery", "Ending", "deliver"]

_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")
_RUBBISH = b"rubbish "
_NOTHING = memoryview(b"")


class Ending(Enum):
    """What becomes of the connection when all has left."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    SILENCE = auto()


class Delivery(NamedTuple):
    """What leaves.

    Attributes:
        status: for the log: the answer's, or 0 where its head is not whole.
        head: all of it or the beginning, the blank line included.
        body: likewise.
        ending: what then becomes of the connection.
        bytes_s: the pace of the body; None: that of the line.
    """

    status: int
    head: bytes
    body: memoryview
    ending: Ending
    bytes_s: float | None = None


def deliver(answer: Answer, fault: Fault | None, *, date_line: bytes, keeps_alive: bool) -> Delivery:
    """An answer as its fault has it leave.

    Args:
        answer: what S3 says. That of a fault of kind ``"status"`` is the error document.
        fault: None: the answer is sound.
        date_line: the Date header, CRLF included.
        keeps_alive: whether the client wants the connection to stay open.
    """
    closes = not keeps_alive or (fault is not None and fault.kind == "close")
    head = answer.head + date_line + (b"Connection: close\r\n\r\n" if closes else b"\r\n")
    sound = Delivery(answer.status, head, answer.body, Ending.CLOSE if closes else Ending.KEEP)
    spoil = None if fault is None else _SPOILERS.get(fault.kind)
    return sound if spoil is None or fault is None else spoil(sound, fault)


def _cut(sound: Delivery, fault: Fault) -> Delivery:
    ending = {"reset": Ending.RESET, "short": Ending.CLOSE, "stall": Ending.SILENCE}[fault.kind]
    head_bytes, after_bytes = fault.head_bytes, fault.after_bytes
    if head_bytes is None and after_bytes is None:
        head_bytes, after_bytes = (None, len(sound.body) // 2) if fault.kind == "short" else (0, None)
    if head_bytes is not None:
        return Delivery(0, sound.head[:head_bytes], _NOTHING, ending)
    return sound._replace(body=sound.body[:after_bytes], ending=ending)


def _hang_up(sound: Delivery, _: Fault) -> Delivery:
    return sound._replace(ending=Ending.CLOSE)


def _add(sound: Delivery, fault: Fault) -> Delivery:
    if fault.after_bytes is None:
        extra = sound.head + sound.body
    else:
        extra = (_RUBBISH * (fault.after_bytes // len(_RUBBISH) + 1))[: fault.after_bytes]
    return sound._replace(body=memoryview(bytes(sound.body) + extra))


def _miscount(sound: Delivery, fault: Fault) -> Delivery:
    def count(match: re.Match[bytes]) -> bytes:
        return b"\r\nContent-Length: %d\r\n" % max(0, int(match[1]) + fault.length_error_bytes)

    return sound._replace(head=_CONTENT_LENGTH.sub(count, sound.head))


def _corrupt(sound: Delivery, fault: Fault) -> Delivery:
    body = bytearray(sound.body)
    if not body:
        return sound
    place = len(body) // 2 if fault.after_bytes is None else min(fault.after_bytes, len(body) - 1)
    body[place] ^= 1
    return sound._replace(body=memoryview(body))


def _drip(sound: Delivery, fault: Fault) -> Delivery:
    return sound._replace(bytes_s=fault.bytes_s)


_SPOILERS: dict[str, Callable[[Delivery, Fault], Delivery]] = {
    "reset": _cut,
    "short": _cut,
    "stall": _cut,
    "hangup": _hang_up,
    "extra": _add,
    "length": _miscount,
    "corrupt": _corrupt,
    "drip": _drip,
}
