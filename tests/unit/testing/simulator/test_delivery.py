from __future__ import annotations

import pytest

from asyncio_loader.testing.simulator.answers import Answer
from asyncio_loader.testing.simulator.delivery import Delivery, Ending, deliver
from asyncio_loader.testing.simulator.faults import Fault

BODY = b"0123456789" * 10
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"
ANSWER = Answer(200, HEAD, memoryview(BODY), "a")
DATE = b"Date: now\r\n"
WHOLE = HEAD + DATE + b"\r\n"


def make(fault: Fault | None, *, keeps_alive: bool = True) -> Delivery:
    return deliver(ANSWER, fault, date_line=DATE, keeps_alive=keeps_alive)


@pytest.mark.parametrize("fault", [None, Fault("status"), Fault("slow")], ids=["none", "status", "slow"])
def test_a_sound_answer_leaves_as_it_is(fault: Fault | None) -> None:
    assert make(fault) == Delivery(200, WHOLE, ANSWER.body, Ending.KEEP)


def test_who_does_not_keep_alive_is_told_so() -> None:
    delivery = make(None, keeps_alive=False)

    assert delivery.head == HEAD + DATE + b"Connection: close\r\n\r\n"
    assert delivery.ending is Ending.CLOSE


@pytest.mark.parametrize(
    ("fault", "head", "body", "status", "ending"),
    [
        (Fault("reset"), b"", b"", 0, Ending.RESET),
        (Fault("reset", head_bytes=20), WHOLE[:20], b"", 0, Ending.RESET),
        (Fault("reset", after_bytes=0), WHOLE, b"", 200, Ending.RESET),
        (Fault("reset", after_bytes=7), WHOLE, BODY[:7], 200, Ending.RESET),
        (Fault("short"), WHOLE, BODY[:50], 200, Ending.CLOSE),
        (Fault("short", head_bytes=0), b"", b"", 0, Ending.CLOSE),
        (Fault("short", after_bytes=99), WHOLE, BODY[:99], 200, Ending.CLOSE),
        (Fault("stall"), b"", b"", 0, Ending.SILENCE),
        (Fault("stall", head_bytes=5), WHOLE[:5], b"", 0, Ending.SILENCE),
        (Fault("stall", after_bytes=7), WHOLE, BODY[:7], 200, Ending.SILENCE),
        (Fault("hangup"), WHOLE, BODY, 200, Ending.CLOSE),
        (Fault("close"), WHOLE[:-2] + b"Connection: close\r\n\r\n", BODY, 200, Ending.CLOSE),
        (Fault("extra"), WHOLE, BODY + WHOLE + BODY, 200, Ending.KEEP),
        (Fault("extra", after_bytes=10), WHOLE, BODY + b"rubbish ru", 200, Ending.KEEP),
        (Fault("length", length_error_bytes=5), WHOLE.replace(b"100", b"105"), BODY, 200, Ending.KEEP),
        (Fault("length", length_error_bytes=-5), WHOLE.replace(b"100", b"95"), BODY, 200, Ending.KEEP),
        (Fault("corrupt"), WHOLE, BODY[:50] + b"1" + BODY[51:], 200, Ending.KEEP),
        (Fault("corrupt", after_bytes=7), WHOLE, BODY[:7] + b"6" + BODY[8:], 200, Ending.KEEP),
        (Fault("corrupt", after_bytes=700), WHOLE, BODY[:99] + b"8", 200, Ending.KEEP),
    ],
    ids=lambda value: f"{value.kind}-{value.head_bytes}-{value.after_bytes}" if isinstance(value, Fault) else "",
)
def test_a_fault_spoils_it(fault: Fault, head: bytes, body: bytes, status: int, ending: Ending) -> None:
    delivery = make(fault)

    assert (delivery.head, bytes(delivery.body), delivery.status, delivery.ending) == (head, body, status, ending)
    # What is served next time is the true object.
    assert bytes(ANSWER.body) == BODY


def test_a_body_that_drips_has_a_pace() -> None:
    assert make(Fault("drip", bytes_s=7)) == Delivery(200, WHOLE, ANSWER.body, Ending.KEEP, 7)


def test_nothing_cannot_be_corrupted() -> None:
    empty = ANSWER._replace(body=memoryview(b""))

    assert bytes(deliver(empty, Fault("corrupt"), date_line=DATE, keeps_alive=True).body) == b""
