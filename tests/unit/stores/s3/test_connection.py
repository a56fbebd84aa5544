"""One connection: its phases, its timers, and what ends it. In memory and in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.errors import ConnectionLost, FetchError, FetchTimeout, ServerFault, ShortRead
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.connection import Connection, StaleConnection
from asyncio_loader.stores.s3.deadline import SLOWEST_BYTES_PER_S
from asyncio_loader.stores.s3.http1 import HEAD_LIMIT_BYTES, INTERIM_LIMIT
from asyncio_loader.stores.s3.transport import TransportError
from tests.fuzz.memory_net import EOF, RESET, MemoryTransport, Packet, Server, in_memory, memory_loop, timers_left

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


class Home:
    """See `connection.Home`.

    Attributes:
        open: the connections that stand.
    """

    def __init__(self, scratch_bytes: int = 8192) -> None:
        self.endpoint = "http://s3.test"
        self.timeouts = RetryPolicy(first_byte_timeout_s=10, stall_timeout_s=5)
        self.scratch = memoryview(bytearray(scratch_bytes))
        self.open: set[Connection] = set()

    def remember(self, connection: Connection) -> None:
        self.open.add(connection)

    def forget(self, connection: Connection) -> None:
        self.open.discard(connection)


async def _connect(*packets: Packet | bytes, home: Home | None = None) -> tuple[Connection, MemoryTransport]:
    """A connection whose server answers every request with these packets."""
    answer = [packet if isinstance(packet, tuple) else (0.0, packet) for packet in packets]
    memory_loop().server = Server(lambda _: list(answer))
    transport, connection = await memory_loop().create_connection(lambda: Connection(home or Home()))
    return connection, transport


class Place:
    """See `transport.Place`.

    Attributes:
        sizes: what was asked for.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.memory = memoryview(b"")

    def __call__(self, size_bytes: int) -> memoryview:
        self.sizes.append(size_bytes)
        self.memory = memoryview(bytearray(size_bytes + 1))
        return self.memory


async def _ask(connection: Connection, place: Place | None = None, method: str = "GET") -> None:
    await connection.ask(b"GET / HTTP/1.1\r\n\r\n", method, place)


async def _read_all(connection: Connection) -> bytes:
    pieces = []
    while piece := await connection.read():
        pieces.append(bytes(piece))
    return b"".join(pieces)


@pytest.mark.parametrize("cut", [0, 30, 37, 38, 39, 40, 42])
@in_memory
async def test_a_body_comes_to_its_place(cut: int) -> None:
    connection, _ = await _connect(*([OK[:cut]] if cut else []), OK[cut:])
    place = Place()

    await _ask(connection, place)

    assert place.sizes == [5]
    assert connection.placed is not None
    assert (connection.placed, connection.placed.obj) == (b"hello", place.memory.obj)
    assert (connection.status, connection.reason, connection.content_length) == (200, "OK", 5)
    assert connection.finish()
    connection.abort()


@pytest.mark.parametrize(
    ("answer", "method"),
    [
        (CHUNKED, "GET"),
        (OK.replace(b"200 OK", b"206 Partial"), "GET"),
        (OK.replace(b"200 OK", b"404 Not"), "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET"),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "GET"),
    ],
)
@in_memory
async def test_no_place_is_asked_for_where_none_is_sure(answer: bytes, method: str) -> None:
    connection, _ = await _connect(answer)
    place = Place()

    await _ask(connection, place, method)
    body = await _read_all(connection)

    assert (place.sizes, connection.placed) == ([], None)
    assert body == (b"hello" if b"hello" in answer else b"")
    assert connection.finish()
    connection.abort()


@in_memory
async def test_what_the_place_raises_is_for_who_asks_and_not_for_the_loop() -> None:
    connection, _ = await _connect(OK)

    def place(_: int) -> memoryview:
        raise MemoryError("none left")

    with pytest.raises(MemoryError, match="none left"):
        await connection.ask(b"", "GET", place)

    assert (memory_loop().server.crashes, connection.is_closed) == ([], True)


@in_memory
async def test_a_body_without_a_place_waits_on_the_wire() -> None:
    connection, transport = await _connect(OK[:40], (1.0, b"x" * 100_000))
    await connection.ask(b"", "GET", lambda _: None)

    await asyncio.sleep(10_000)

    assert transport.unread_bytes == 100_000
    connection.abort()


@in_memory
async def test_a_range_stays_within_its_target() -> None:
    connection, _ = await _connect(OK[:39], OK[39:] + b"x")
    await _ask(connection)
    memory = bytearray(b"-" * 9)

    assert await connection.read_into(memoryview(memory)[2:7]) == 5
    assert memory == b"--hello--"
    await asyncio.sleep(0)
    # What came behind it has shown.
    assert not connection.finish()


@in_memory
async def test_a_target_may_be_smaller_than_the_body() -> None:
    connection, _ = await _connect(OK)
    await _ask(connection)
    target = memoryview(bytearray(3))

    assert (await connection.read_into(target), bytes(target)) == (3, b"hel")
    assert (await connection.read_into(target), bytes(target)) == (2, b"lol")
    assert await connection.read_into(target) == 0
    assert connection.finish()
    connection.abort()


@in_memory
async def test_leaving_a_body_unread_drops_the_connection() -> None:
    connection, _ = await _connect(OK)
    await _ask(connection)
    await connection.read_into(memoryview(bytearray(3)))

    assert not connection.finish()
    assert connection.is_closed


@pytest.mark.parametrize(("count", "is_taken"), [(1, True), (INTERIM_LIMIT, True), (INTERIM_LIMIT + 1, False)])
@pytest.mark.parametrize("in_one_packet", [True, False])
@in_memory
async def test_interim_answers_are_skipped_up_to_a_number(count: int, is_taken: bool, in_one_packet: bool) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    connection, _ = await _connect(*([interim * count + OK] if in_one_packet else [*[interim] * count, OK]))
    if is_taken:
        await _ask(connection, Place())
        assert connection.placed == b"hello"
    else:
        with pytest.raises(TransportError, match="more than 16 interim answers"):
            await _ask(connection, Place())
    connection.abort()


@pytest.mark.parametrize("step_bytes", [HEAD_LIMIT_BYTES * 2, 1000, 7])
@in_memory
async def test_a_head_has_a_limit(step_bytes: int) -> None:
    filler = b"x" * (HEAD_LIMIT_BYTES + 1)
    steps = [filler[place : place + step_bytes] for place in range(0, len(filler), step_bytes)]
    connection, _ = await _connect(b"HTTP/1.1 200 OK\r\nx: ", *steps)

    with pytest.raises(TransportError, match=f"more than {HEAD_LIMIT_BYTES} bytes") as caught:
        await _ask(connection)

    assert caught.value.kind is ServerFault
    assert connection.is_closed


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [b"HTTP/1.1 200 OK\r\n"],
        [b"HTTP/1.1 200 OK\r\n", *[(1.0, b"x: y\r\n")] * 30],
        [(3.0, b"HTTP/1.1 100 C\r\n\r\n")] * 10,
    ],
)
@in_memory
async def test_the_head_has_its_time_however_it_drips(packets: list[Packet | bytes]) -> None:
    connection, _ = await _connect(*packets)

    with pytest.raises(TransportError, match=r"no answer from .* within 10 s \(first_byte_timeout_s\)") as caught:
        await _ask(connection)

    assert caught.value.kind is FetchTimeout
    assert memory_loop().time() == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("has_place", [True, False])
@pytest.mark.parametrize("head", [OK[:-5], CHUNKED[:-15]])
@in_memory
async def test_a_body_may_not_stall(has_place: bool, head: bytes) -> None:
    connection, _ = await _connect((3.0, head))

    async def fetch() -> None:
        await _ask(connection, Place() if has_place else None)
        await _read_all(connection)

    with pytest.raises(TransportError, match=r"no further byte from .* within 5 s \(stall_timeout_s\)"):
        await fetch()

    assert memory_loop().time() == pytest.approx(3 + 5, abs=0.01)
    connection.abort()


@pytest.mark.parametrize("has_place", [True, False])
@in_memory
async def test_a_body_may_not_drip(has_place: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    connection, _ = await _connect(head, *[(4.0, b"x" * 100)] * 1000)

    async def fetch() -> None:
        await _ask(connection, Place() if has_place else None)
        await _read_all(connection)

    with pytest.raises(TransportError, match="stall_timeout_s"):
        await fetch()

    assert memory_loop().time() < 5 + 5 * 100 / SLOWEST_BYTES_PER_S + 4
    connection.abort()


@in_memory
async def test_a_slow_body_that_is_fast_enough_comes() -> None:
    count = 100
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * 4000)
    connection, _ = await _connect(head, *[(3.0, b"x" * 4000)] * count)
    await _ask(connection, Place())

    assert connection.placed is not None
    assert len(connection.placed) == count * 4000
    connection.abort()


@in_memory
async def test_the_time_that_a_body_rests_counts_for_nothing() -> None:
    connection, transport = await _connect(OK[:40])
    await _ask(connection)
    connection.rest()
    await asyncio.sleep(10_000)
    transport.send([(4.0, OK[40:])])

    assert await _read_all(connection) == b"hello"
    connection.abort()


@in_memory
async def test_the_server_is_held_while_nobody_reads_the_pieces() -> None:
    piece = b"1000\r\n" + bytes(4096) + b"\r\n"
    connection, transport = await _connect(CHUNKED[:-15] + piece * 200 + b"0\r\n\r\n")
    await _ask(connection)
    first = await connection.read()
    await asyncio.sleep(100)

    assert transport.unread_bytes > 4096 * 100
    assert len(first) + len(await _read_all(connection)) == 4096 * 200
    assert connection.finish()
    connection.abort()


@in_memory
async def test_a_body_without_a_frame_ends_with_the_connection() -> None:
    connection, _ = await _connect(b"HTTP/1.1 500 Oops\r\n\r\nhel", (1.0, b"lo"), (1.0, EOF))
    await _ask(connection, Place())

    assert await _read_all(connection) == b"hello"
    assert not connection.finish()


@pytest.mark.parametrize("has_place", [True, False])
@pytest.mark.parametrize(
    ("head", "end", "kind"),
    [
        *((head, EOF, ShortRead) for head in (OK[:-2], CHUNKED[:-12], CHUNKED[:-1])),
        *((head, RESET, ConnectionLost) for head in (OK[:-2], CHUNKED[:-12], CHUNKED[:-1])),
        # Ended by the server, it would be whole.
        (b"HTTP/1.1 500 Oops\r\n\r\nhel", RESET, ConnectionLost),
    ],
)
@in_memory
async def test_a_body_that_breaks_off_is_told(head: bytes, has_place: bool, end: str, kind: type[FetchError]) -> None:
    connection, _ = await _connect(head, (1.0, end))

    async def fetch() -> None:
        await _ask(connection, Place() if has_place else None)
        await _read_all(connection)

    with pytest.raises(TransportError) as caught:
        await fetch()

    assert caught.value.kind is kind
    assert not connection.finish()


@pytest.mark.parametrize(
    ("answer", "is_stale"),
    [
        ([(1.0, EOF)], True),
        ([(1.0, RESET)], True),
        ([b"H", (1.0, EOF)], False),
        ([b"HTTP/1.1 100 C\r\n\r\n", (1.0, EOF)], False),
    ],
)
@in_memory
async def test_only_a_used_connection_without_a_byte_of_an_answer_is_stale(
    answer: list[Packet | bytes], is_stale: bool
) -> None:
    connection, transport = await _connect(OK)
    await _ask(connection, Place())
    assert connection.finish()
    answers = [packet if isinstance(packet, tuple) else (0.0, packet) for packet in answer]
    memory_loop().server.answer = lambda _: answers

    with pytest.raises(StaleConnection if is_stale else TransportError):
        await _ask(connection, Place())

    fresh, _ = await _connect(*answer)
    with pytest.raises(TransportError):
        await _ask(fresh, Place())
    assert transport.is_lost


@pytest.mark.parametrize("greeting", [[(0.0, EOF)], [(0.0, b"220 smtp.test ESMTP\r\n")]])
@in_memory
async def test_a_server_that_is_gone_before_it_was_asked_is_no_stale_one(greeting: list[Packet]) -> None:
    memory_loop().server = Server(lambda _: [], greeting=greeting, turns=9)
    _, connection = await memory_loop().create_connection(lambda: Connection(Home()))

    with pytest.raises(TransportError):
        await _ask(connection)


@pytest.mark.parametrize("behind", [b"x", OK, b"\r\n"])
@pytest.mark.parametrize("answer", [OK, CHUNKED, b"HTTP/1.1 204 No\r\n\r\n"])
@pytest.mark.parametrize("has_place", [True, False])
@in_memory
async def test_what_comes_behind_an_answer_ends_the_connection(behind: bytes, answer: bytes, has_place: bool) -> None:
    # In the same packet, nothing of it is believed.
    connection, _ = await _connect(answer + behind)

    async def fetch() -> None:
        await _ask(connection, Place() if has_place else None)
        await _read_all(connection)

    with pytest.raises(TransportError, match="bytes come behind the end of the answer"):
        await fetch()
    assert not connection.finish()

    # Later, it is noticed where the connection is idle.
    connection, _ = await _connect(answer, (1.0, behind))
    await fetch()
    assert connection.finish()
    await asyncio.sleep(2)
    assert connection.is_closed


@in_memory
async def test_what_lies_behind_a_large_body_in_the_kernel_shows() -> None:
    connection, _ = await _connect(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + bytes(50_000) + OK)

    with pytest.raises(TransportError, match="behind the end"):
        await _ask(connection, Place())

    assert connection.is_closed


@pytest.mark.parametrize("more_bytes", [0, 1])
@pytest.mark.parametrize("answer", [OK, CHUNKED, b"HTTP/1.1 204 No\r\n\r\n"])
@in_memory
async def test_a_read_that_took_all_it_could_is_known(answer: bytes, more_bytes: int) -> None:
    connection, _ = await _connect(answer, home=Home(len(answer) + more_bytes))
    await _ask(connection)
    await _read_all(connection)

    assert connection.is_full == (more_bytes == 0)
    connection.abort()


@pytest.mark.parametrize("phase", ["head", "resting", "placed", "pieces"])
@in_memory
async def test_closing_ends_the_request_in_every_phase(phase: str) -> None:
    home = Home()
    packets = {"head": [], "resting": [OK[:40]], "placed": [OK[:40]], "pieces": [CHUNKED[:-12]]}[phase]
    connection, transport = await _connect(*packets, home=home)

    async def fetch() -> None:
        await _ask(connection, Place() if phase == "placed" else None)
        if phase == "resting":
            connection.rest()
            await asyncio.sleep(2)
            await connection.read_into(memoryview(bytearray(5)))
        await _read_all(connection)

    task = asyncio.create_task(fetch())
    await asyncio.sleep(1)
    connection.close()
    connection.close()

    with pytest.raises(TransportError, match="the store was closed") as caught:
        await task
    assert caught.value.kind is FetchError
    assert not connection.finish()
    assert (home.open, transport.is_lost, timers_left()) == (set(), True, [])


@pytest.mark.parametrize("packets", [[], [OK[:40]], [CHUNKED[:-12]], [OK]])
@in_memory
async def test_dropping_it_leaves_no_timer_in_any_phase(packets: list[bytes]) -> None:
    home = Home()
    connection, _ = await _connect(*packets, home=home)
    task = asyncio.create_task(_ask(connection, Place()))
    await asyncio.sleep(1)
    task.cancel()
    connection.abort()
    await asyncio.sleep(0)

    assert (connection.is_closed, home.open, timers_left()) == (True, set(), [])


@in_memory
async def test_one_timer_serves_all_requests() -> None:
    connection, _ = await _connect(OK)
    for _ in range(100):
        await _ask(connection, Place())
        assert connection.finish()
        assert len(timers_left()) <= 1

    connection.abort()
