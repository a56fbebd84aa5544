from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from asyncio_loader.testing import Fault, S3Simulator

BODY = b"0123456789" * 10
BIG = bytes(range(256)) * 4096 * 8
OBJECTS = {"a": BODY, "b": b"second", "big": BIG}

Start = Callable[..., S3Simulator]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(S3Simulator(OBJECTS, **options))


def connect(simulator: S3Simulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", simulator.port), timeout=20)


def get(key: str, extra: str = "") -> bytes:
    return f"GET /bucket/{key} HTTP/1.1\r\nHost: 127.0.0.1\r\n{extra}\r\n".encode()


def read_answer(client: socket.socket, size_bytes: int) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < size_bytes:
        part = client.recv(65536)
        assert part, "the connection ended within an answer"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    assert len(body) == size_bytes
    return head, body


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    while part := client.recv(65536):
        data += part
    return data


def converse(simulator: S3Simulator, *parts: bytes) -> bytes:
    """Everything that comes back before the server closes."""
    with closing(connect(simulator)) as client:
        for part in parts:
            client.sendall(part)
        return read_to_end(client)


def wait_for_log(simulator: S3Simulator, count: int) -> list[Any]:
    deadline_s = time.monotonic() + 20
    while len(records := simulator.requests()) < count:
        assert time.monotonic() < deadline_s, records
    return records


def test_a_connection_stays_open(start: Start) -> None:
    simulator = start()
    with closing(connect(simulator)) as client:
        for _ in range(3):
            client.sendall(get("a"))

            assert read_answer(client, 100)[1] == BODY
    assert {record.connection for record in simulator.requests()} == {0}


def test_close_is_honoured(start: Start) -> None:
    answer = converse(start(), get("a", "Connection: close\r\n") + get("b"))

    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(BODY)


def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    simulator = start(median_s=0.01, p99_s=0.05)
    answer = converse(simulator, get("a") + get("b") + get("missing") + get("a", "Connection: close\r\n"))

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"404", b"200"]
    assert [record.key for record in simulator.requests()] == ["a", "b", "missing", "a"]


def test_more_pipelined_requests_than_a_buffer_holds_are_answered(start: Start) -> None:
    answer = converse(start(median_s=0.0001), get("b") * 3000 + get("b", "Connection: close\r\n"))

    assert answer.count(b"second") == 3001


def test_a_request_may_come_in_pieces(start: Start) -> None:
    request = get("b", "Connection: close\r\n")

    assert converse(start(), request[:7], request[7:40], request[40:]).endswith(b"second")


def test_a_large_object_reaches_a_slow_reader_whole(start: Start) -> None:
    simulator = start()
    with closing(connect(simulator)) as client:
        client.sendall(get("big") + get("b", "Connection: close\r\n"))
        wait_for_log(simulator, 1)
        first, second = read_to_end(client).split(b"HTTP/1.1 200 OK\r\n")[1:]

    assert first.partition(b"\r\n\r\n")[2] == BIG
    assert second.endswith(b"second")


def test_the_next_answer_waits_until_the_client_has_read(start: Start) -> None:
    simulator = start()
    with closing(connect(simulator)) as client:
        client.sendall(get("big") * 5)
        records = wait_for_log(simulator, 1)

        assert len(records) == 1


def test_what_is_not_http_is_400(start: Start) -> None:
    assert converse(start(), b"EHLO there\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_an_endless_head_is_400(start: Start) -> None:
    simulator = start()
    with closing(connect(simulator)) as client:
        client.sendall(b"x" * 65_537)

        assert client.recv(12) == b"HTTP/1.1 400"


def test_the_body_of_a_put_is_not_taken_for_a_request(start: Start) -> None:
    put = b"PUT /bucket/a HTTP/1.1\r\nContent-Length: 20\r\n\r\n" + b"GET /bucket/a HTTP/1"
    answer = converse(start(), put + get("b", "Connection: close\r\n"))

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"405", b"200"]


def test_latency_comes_before_the_first_byte(start: Start) -> None:
    simulator = start(median_s=0.1)
    with closing(connect(simulator)) as client:
        started_s = time.monotonic()
        client.sendall(get("a"))
        client.recv(1)

        assert time.monotonic() - started_s >= 0.099
    (record,) = simulator.requests()
    assert record.answered_s - record.received_s >= 0.099
    assert started_s <= record.received_s <= time.monotonic()


def test_a_client_that_leaves_early_is_logged_as_not_answered(start: Start) -> None:
    simulator = start(median_s=600)
    with closing(connect(simulator)) as client:
        client.sendall(get("a"))
    (record,) = wait_for_log(simulator, 1)

    assert (record.key, record.status, record.sent_bytes) == ("a", 0, 0)


def test_a_status_fault_is_the_answer_of_s3(start: Start) -> None:
    simulator = start(faults=[Fault("status", status=503, times=1)])
    with closing(connect(simulator)) as client:
        client.sendall(get("a") + get("a", "Connection: close\r\n"))
        answer = read_to_end(client)

    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"<Code>SlowDown</Code>" in answer
    assert answer.endswith(BODY)
    assert [record.fault for record in simulator.requests()] == ["status", None]


def test_a_reset_before_the_head(start: Start) -> None:
    simulator = start(faults=[Fault("reset")])
    with closing(connect(simulator)) as client:
        client.sendall(get("a"))

        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert [(record.status, record.fault) for record in simulator.requests()] == [(0, "reset")]


@pytest.mark.parametrize(("key", "after_bytes"), [("a", 7), ("big", len(BIG) - 1)])
def test_a_reset_within_the_body(start: Start, key: str, after_bytes: int) -> None:
    simulator = start(faults=[Fault("reset", after_bytes=after_bytes)])
    with closing(connect(simulator)) as client:
        client.sendall(get(key))

        with pytest.raises(ConnectionResetError):
            read_to_end(client)
    assert [(record.status, record.sent_bytes) for record in simulator.requests()] == [(200, after_bytes)]


def test_a_reset_within_the_head(start: Start) -> None:
    simulator = start(faults=[Fault("reset", head_bytes=15)])
    with closing(connect(simulator)) as client:
        client.sendall(get("a"))
        wait_for_log(simulator, 1)

        # What came before the reset may be lost with it.
        with pytest.raises(ConnectionResetError):
            assert len(read_to_end(client)) <= 15
    assert [(record.status, record.sent_bytes) for record in simulator.requests()] == [(0, 0)]


def test_a_connection_may_end_before_any_byte(start: Start) -> None:
    assert converse(start(faults=[Fault("short", head_bytes=0)]), get("a")) == b""


@pytest.mark.parametrize(("after_bytes", "expected"), [(None, 50), (99, 99), (0, 0)])
def test_a_short_body_ends_in_good_order(start: Start, after_bytes: int | None, expected: int) -> None:
    head, _, body = converse(start(faults=[Fault("short", after_bytes=after_bytes)]), get("a")).partition(b"\r\n\r\n")

    assert b"\r\nContent-Length: 100\r\n" in head
    assert body == BODY[:expected]


def test_a_stall_keeps_the_connection_and_says_nothing(start: Start) -> None:
    simulator = start(faults=[Fault("stall", key="a")])
    with closing(connect(simulator)) as client:
        client.sendall(get("a") + get("b"))
        (record,) = wait_for_log(simulator, 1)
        client.setblocking(False)

        assert (record.status, record.fault) == (0, "stall")
        with pytest.raises(BlockingIOError):
            client.recv(1)


def test_a_stall_may_come_within_the_body(start: Start) -> None:
    simulator = start(faults=[Fault("stall", after_bytes=10)])
    with closing(connect(simulator)) as client:
        client.sendall(get("a"))

        assert read_answer(client, 10)[1] == BODY[:10]
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)


@pytest.mark.parametrize(("kind", "announced"), [("close", True), ("hangup", False)])
def test_a_connection_may_end_after_the_answer(start: Start, kind: Any, announced: bool) -> None:
    simulator = start(faults=[Fault(kind)])
    answer = converse(simulator, get("a") + get("b"))

    assert (b"\r\nConnection: close\r\n" in answer) is announced
    assert answer.endswith(BODY)
    assert [(record.status, record.fault) for record in simulator.requests()] == [(200, kind)]


def test_more_may_come_than_was_announced(start: Start) -> None:
    answer = converse(start(faults=[Fault("extra", times=1)]), get("a") + get("a", "Connection: close\r\n"))

    assert answer.count(BODY) == 3


def test_a_body_may_come_slowly(start: Start) -> None:
    simulator = start(faults=[Fault("drip", key="a", bytes_s=400)])
    started_s = time.monotonic()
    answer = converse(simulator, get("a") + get("b", "Connection: close\r\n"))

    assert time.monotonic() - started_s > 0.23
    assert BODY in answer
    assert answer.endswith(b"second")


def test_a_client_that_leaves_a_slow_body_is_logged_with_what_was_sent(start: Start) -> None:
    simulator = start(faults=[Fault("drip", bytes_s=1)])
    with closing(connect(simulator)) as client:
        client.sendall(get("a"))
        assert client.recv(1) == b"H"
    (record,) = wait_for_log(simulator, 1)

    assert (record.status, record.fault) == (200, "drip")
    assert record.sent_bytes < 100


def test_a_paced_body_is_whole_for_a_client_that_reads_late(start: Start) -> None:
    """The client's buffers are full long before: the turns pass to others, and come back."""
    simulator = start(bandwidth_bytes_s=1e9)
    with closing(connect(simulator)) as client, closing(connect(simulator)) as other:
        client.sendall(get("big", "Connection: close\r\n"))
        other.sendall(get("b", "Connection: close\r\n"))

        assert read_to_end(other).endswith(b"second")
        assert read_to_end(client).endswith(BIG)


def test_a_connection_may_be_reset_as_soon_as_it_is_made(start: Start) -> None:
    simulator = start(faults=[Fault("connect", times=1)])
    # Within the connect of the client or after it, as the clock will have it.
    with pytest.raises(ConnectionResetError), closing(connect(simulator)) as client:
        client.recv(1)
    assert converse(simulator, get("b", "Connection: close\r\n")).endswith(b"second")
    records = [(record.method, record.fault, record.connection) for record in simulator.requests()]

    assert records == [("", "connect", 0), ("GET", None, 1)]


def test_it_speaks_tls(start: Start) -> None:
    simulator = start(tls=True, faults=[Fault("reset", key="b", after_bytes=3)])
    context = ssl.create_default_context(cafile=simulator.ca_bundle)
    with context.wrap_socket(connect(simulator), server_hostname="127.0.0.1") as client:
        client.sendall(get("a"))
        assert read_answer(client, 100)[1] == BODY
        client.sendall(get("b"))
        # Below TLS: Python's own takes a reset for an end.
        with socket.socket(fileno=os.dup(client.fileno())) as raw:
            raw.settimeout(20)
            with pytest.raises(ConnectionResetError):
                read_to_end(raw)
    with context.wrap_socket(connect(simulator), server_hostname="s3.test") as client:
        client.sendall(get("big", "Connection: close\r\n"))
        assert read_to_end(client).endswith(BIG)
    with pytest.raises(ssl.SSLCertVerificationError), closing(connect(simulator)) as client:
        ssl.create_default_context().wrap_socket(client, server_hostname="127.0.0.1")


def test_a_handshake_may_be_broken_off(start: Start) -> None:
    simulator = start(tls=True, faults=[Fault("handshake", times=1)])
    context = ssl.create_default_context(cafile=simulator.ca_bundle)
    with pytest.raises((ssl.SSLError, ConnectionError)), closing(connect(simulator)) as client:
        context.wrap_socket(client, server_hostname="127.0.0.1")
    with context.wrap_socket(connect(simulator), server_hostname="127.0.0.1") as client:
        client.sendall(get("b", "Connection: close\r\n"))
        assert read_to_end(client).endswith(b"second")
    assert [record.fault for record in simulator.requests()] == ["handshake", None]
