"""The pool of connections: which one is used, where a new one goes, and what is left. In memory and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncio_loader.errors import ConfigError, ConnectionLost, FetchError, FetchTimeout
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.address import Address
from asyncio_loader.stores.s3.addresses import Origin
from asyncio_loader.stores.s3.connections import Http1Transport
from asyncio_loader.stores.s3.transport import Request, TransportError
from tests.fuzz.memory_net import EOF, MemoryTransport, Packet, Server, in_memory, memory_loop, timers_left

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TIMEOUTS = RetryPolicy(connect_timeout_s=4)


class Client:
    """A transport and its server.

    Attributes:
        server: what answers.
    """

    def __init__(self, *packets: Packet | bytes, **server: object) -> None:
        self.answer_with(*packets, **server)
        self.transport = Http1Transport("http://s3.test", "http", None, timeouts=TIMEOUTS)

    def answer_with(self, *packets: Packet | bytes, **server: object) -> None:
        """From now on, on new connections and on those there are."""
        answer = [packet if isinstance(packet, tuple) else (0.0, packet) for packet in packets]
        if not hasattr(self, "server"):
            self.server = memory_loop().server = Server(lambda _: list(answer), **server)  # type: ignore[arg-type]
        self.server.answer = lambda _: list(answer)

    async def get(self, host: str = "s3.test", **headers: str) -> bytes:
        """The body."""
        request = Request("GET", Address(host, "/key", "http"), "/key", {"host": host, **headers})
        async with self.transport.send(request) as answer:
            body = bytearray()
            while piece := await answer.read():
                body += piece
            return bytes(body)

    async def get_at_once(self, count: int) -> None:
        """So many GETs, on as many connections."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self.get())

    @property
    def lines(self) -> list[MemoryTransport]:
        """All connections, in the order in which they were opened."""
        return self.server.transports


@asynccontextmanager
async def _client(*packets: Packet | bytes, **server: object) -> AsyncIterator[Client]:
    client = Client(*(packets or (OK,)), **server)
    yield client
    await client.transport.aclose()
    assert client.server.open_transports == []
    assert client.server.crashes == []


@in_memory
async def test_the_connection_that_was_used_last_is_taken_first() -> None:
    async with _client((1.0, OK)) as client:
        await client.get_at_once(3)
        # The two others grow old.
        for _ in range(30):
            await client.get()

        assert len(client.lines) == 3
        assert len(client.server.open_transports) == 1


@pytest.mark.parametrize(("pause_s", "count"), [(14.9, 1), (15.1, 2)])
@in_memory
async def test_an_idle_connection_is_kept_for_a_while(pause_s: float, count: int) -> None:
    async with _client() as client:
        await client.get()
        await asyncio.sleep(pause_s)
        is_open = len(client.server.open_transports) == 1
        await client.get()

        assert (len(client.lines), is_open) == (count, count == 1)


@in_memory
async def test_an_old_connection_is_replaced() -> None:
    async with _client() as client:
        for _ in range(13):
            await client.get()
            await asyncio.sleep(10)

        assert len(client.lines) == 2
        assert len(client.server.open_transports) == 1


@in_memory
async def test_no_timer_is_left_once_all_connections_are_gone() -> None:
    async with _client() as client:
        await client.get_at_once(5)
        await asyncio.sleep(20)

        assert (client.server.open_transports, timers_left()) == ([], [])


@in_memory
async def test_connections_are_spread_over_the_addresses() -> None:
    memory_loop().addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    async with _client((1.0, OK)) as client:
        await client.get_at_once(9)

        assert sorted(memory_loop().dialled) == sorted(memory_loop().addresses * 3)
        assert memory_loop().looked_up == ["s3.test"]


@in_memory
async def test_the_name_is_looked_up_again_when_the_answer_is_old() -> None:
    async with _client((1.0, OK)) as client:
        await client.get_at_once(1)
        memory_loop().addresses = ["192.0.2.9"]
        await client.get_at_once(2)
        await asyncio.sleep(10)
        await client.get_at_once(3)

        assert memory_loop().dialled == ["192.0.2.1", "192.0.2.1", "192.0.2.9"]


@in_memory
async def test_an_address_that_cannot_be_reached_is_the_last_choice_and_the_name_looked_up_anew() -> None:
    loop = memory_loop()
    loop.addresses, loop.dead = ["192.0.2.1", "192.0.2.2"], {"192.0.2.1"}
    async with _client((1.0, OK)) as client:
        await client.get_at_once(1)
        assert loop.dialled == ["192.0.2.1", "192.0.2.2"]
        await client.get_at_once(5)

        assert loop.dialled[2:] == ["192.0.2.2"] * 4
        assert loop.looked_up == ["s3.test"] * 2
        # After a while it may be better.
        await asyncio.sleep(40)
        loop.dead = set()
        await client.get_at_once(2)
        assert "192.0.2.1" in loop.dialled[-2:]


@in_memory
async def test_where_no_address_can_be_reached_it_is_told() -> None:
    loop = memory_loop()
    loop.addresses, loop.dead = ["192.0.2.1", "192.0.2.2"], {"192.0.2.1", "192.0.2.2"}
    async with _client() as client:
        with pytest.raises(TransportError, match=r"cannot reach http://s3.test \(Connection refused\)") as caught:
            await client.get()

    assert caught.value.kind is ConnectionLost
    assert loop.dialled == ["192.0.2.1", "192.0.2.2"]


@in_memory
async def test_a_name_without_an_address_is_told_and_looked_up_again() -> None:
    memory_loop().addresses = []
    async with _client() as client:
        for _ in range(2):
            with pytest.raises(TransportError, match=r"cannot resolve the host of http://s3\.test"):
                await client.get()

        assert len(memory_loop().looked_up) == 2


@in_memory
async def test_a_silent_address_leaves_time_for_the_next() -> None:
    loop = memory_loop()
    loop.addresses, loop.silent = ["192.0.2.1", "192.0.2.2"], {"192.0.2.1"}
    async with _client() as client:
        assert await client.get() == b"hello"

    assert loop.dialled == ["192.0.2.1", "192.0.2.2"]
    assert loop.time() == pytest.approx(2, abs=0.01)


@in_memory
async def test_all_addresses_share_the_time_to_connect() -> None:
    loop = memory_loop()
    loop.addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    loop.silent = set(loop.addresses)
    async with _client() as client:
        with pytest.raises(TransportError, match=r"no connection to http://s3.test within 4 s") as caught:
            await client.get()

    assert caught.value.kind is FetchTimeout
    assert (len(loop.dialled), loop.time()) == (3, pytest.approx(4, abs=0.01))


@in_memory
async def test_many_connections_at_once_look_a_name_up_once() -> None:
    async with _client((1.0, OK)) as client:
        await client.get_at_once(200)

        assert (len(client.lines), memory_loop().looked_up) == (200, ["s3.test"])


@pytest.mark.parametrize(
    ("header", "scheme", "origin"),
    [
        ("s3.test", "http", ("s3.test", 80)),
        ("s3.test", "https", ("s3.test", 443)),
        ("s3.test:9000", "https", ("s3.test", 9000)),
        ("127.0.0.1:9000", "http", ("127.0.0.1", 9000)),
        ("[::1]", "http", ("::1", 80)),
        ("[::1]:9000", "http", ("::1", 9000)),
        ("[2001:db8::1]", "https", ("2001:db8::1", 443)),
    ],
)
def test_host_and_port_are_those_of_the_host_header(header: str, scheme: str, origin: tuple[str, int]) -> None:
    assert Origin.parse(header, scheme) == origin


@in_memory
async def test_each_host_has_its_own_connections() -> None:
    async with _client() as client:
        for host in ("a.s3.test", "b.s3.test", "a.s3.test", "b.s3.test"):
            await client.get(host)

        assert memory_loop().looked_up == ["a.s3.test", "b.s3.test"]
        assert len(client.lines) == 2


@in_memory
async def test_a_connection_that_went_stale_is_replaced_once() -> None:
    async with _client() as client:
        await client.get()
        client.answer_with((1.0, EOF))
        with pytest.raises(TransportError, match="closed the connection") as caught:
            await client.get()

        assert caught.value.kind is ConnectionLost
        assert len(client.lines) == 2


@in_memory
async def test_of_many_stale_connections_each_costs_one_request_its_new_one() -> None:
    async with _client((1.0, OK)) as client:
        await client.get_at_once(5)
        for line in client.lines:
            line.send([(0.0, EOF)])
        await asyncio.sleep(0)
        # Before the loop has told of a single end.
        await client.get_at_once(5)

        assert len(client.lines) == 10


@in_memory
async def test_an_answer_that_began_is_not_asked_for_again() -> None:
    async with _client() as client:
        await client.get()
        client.answer_with(b"HTTP/1.1 2", (1.0, EOF))
        with pytest.raises(TransportError):
            await client.get()

        assert len(client.lines) == 1


@in_memory
async def test_an_idle_connection_that_the_server_ends_is_not_used() -> None:
    async with _client() as client:
        await client.get()
        client.lines[0].send([(1.0, EOF)])
        await asyncio.sleep(2)
        assert client.server.open_transports == []
        await client.get()

        assert len(client.lines) == 2


@pytest.mark.parametrize("greeting", [[(0.0, EOF)], [(0.0, b"220 smtp.test ESMTP\r\n")]])
@pytest.mark.parametrize("turns", [2, 3, 9])
@in_memory
async def test_a_server_that_does_not_wait_to_be_asked_is_told(greeting: list[Packet], turns: int) -> None:
    async with _client(OK, greeting=greeting, turns=turns) as client:
        with pytest.raises(TransportError):
            await client.get()

        assert len(client.lines) == 1


@pytest.mark.parametrize("packets", [[(9.0, OK)], [OK[:-2]], [OK.replace(b"200 OK", b"200 OK\r\nConnection: close")]])
@in_memory
async def test_an_answer_that_is_not_read_or_not_kept_costs_its_connection(packets: list[Packet | bytes]) -> None:
    async with _client(*packets) as client:
        task = asyncio.create_task(client.get())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])

        assert client.server.open_transports == []


@pytest.mark.parametrize("when", ["looking up", "connecting", "head", "body", "idle"])
@in_memory
async def test_closing_leaves_nothing_whatever_is_under_way(when: str) -> None:
    loop = memory_loop()
    client = Client({"head": (9.0, OK), "body": OK[:-2]}.get(when, OK))
    found = asyncio.Event()
    if when == "connecting":
        loop.silent = {"192.0.2.1"}
    if when == "looking up":
        loop.getaddrinfo = lambda *_, **__: found.wait()  # type: ignore[assignment, method-assign, return-value]
    tasks = [asyncio.create_task(client.get()) for _ in range(300)]
    await asyncio.sleep(1)
    started_s = loop.time()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(client.transport.aclose())
    await asyncio.wait(tasks)

    assert loop.time() == started_s
    assert (client.server.open_transports, timers_left()) == ([], [])
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if when != "idle":
        for task in tasks:
            error = task.exception()
            assert isinstance(error, TransportError)
            assert (error.kind, error.what) == (FetchError, "the store was closed")
    with pytest.raises(TransportError, match="the store was closed"):
        await client.get()


@pytest.mark.parametrize("when", ["connecting", "head"])
@in_memory
async def test_cancelling_leaves_nothing(when: str) -> None:
    if when == "connecting":
        memory_loop().silent = {"192.0.2.1"}
    async with _client((9.0, OK)) as client:
        tasks = [asyncio.create_task(client.get()) for _ in range(10)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

        assert all(task.cancelled() for task in tasks)
        assert client.server.open_transports == []


@in_memory
async def test_who_stops_waiting_for_a_name_leaves_the_look_up_to_the_others() -> None:
    loop, found = memory_loop(), asyncio.Event()
    look_up = loop.getaddrinfo

    async def look_up_late(*args: object, **kwargs: object) -> object:
        await found.wait()
        return await look_up(*args, **kwargs)  # type: ignore[arg-type]

    loop.getaddrinfo = look_up_late  # type: ignore[assignment, method-assign]
    async with _client() as client:
        first, second = (asyncio.create_task(client.get()) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.wait([first])
        found.set()

        assert await second == b"hello"
        assert loop.looked_up == ["s3.test"]


@in_memory
async def test_a_connection_that_may_hold_more_than_its_answer_is_looked_at_first() -> None:
    async with _client(OK + OK[:0]) as client:
        client.transport._scratch = memoryview(bytearray(len(OK)))
        client.answer_with(OK + OK.replace(b"hello", b"evil!"))
        assert await client.get() == b"hello"
        client.answer_with(OK)

        # In the same turn of the loop.
        assert await client.get() == b"hello"
        assert len(client.lines) == 2


@in_memory
async def test_what_is_no_request_is_not_sent() -> None:
    async with _client() as client:
        with pytest.raises(ConfigError, match="the header 'range' cannot be sent"):
            await client.get(range="0-4\r\nx: y")

        assert client.lines == []


@in_memory
async def test_a_name_that_cannot_be_encoded_is_told() -> None:
    async def look_up(*_: object, **__: object) -> None:
        "a..b".encode("idna")

    memory_loop().getaddrinfo = look_up  # type: ignore[assignment, method-assign]
    async with _client() as client:
        with pytest.raises(TransportError, match="cannot resolve the host"):
            await client.get()
