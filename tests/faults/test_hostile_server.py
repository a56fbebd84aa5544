"""Servers that break the protocol, over real sockets, on either loop. `tests/fuzz` does more of it, in memory."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from asyncio_loader.errors import ConnectionLost, FetchError, FetchTimeout, LoaderError, ServerFault, ShortRead
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.store import S3Store
from tests.fuzz.http1 import CORPUS
from tests.fuzz.reference import read_with_h11

URI = "s3://bucket/key"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n"
QUICK = RetryPolicy(connect_timeout_s=5.0, first_byte_timeout_s=0.2, stall_timeout_s=0.2)
PATIENT = RetryPolicy(connect_timeout_s=5.0, first_byte_timeout_s=10.0, stall_timeout_s=10.0)

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test on a loop, which must tell of no error of its own."""

    def run_test(test: Callable[[], Awaitable[None]]) -> None:
        told: list[dict[str, object]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
            await test()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())
        assert told == []

    return run_test


@asynccontextmanager
async def _server(*scripts: Script) -> AsyncIterator[str]:
    """Its endpoint; each request is answered by the next script, and the last one for ever."""
    coming = itertools.chain(scripts, itertools.repeat(scripts[-1]))
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                await next(coming)(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        # Each ends with the client's end of its connection, or hangs and shows what was left open.
        if serving:
            await asyncio.wait(serving)


def _sending(data: bytes, *, closes: bool = False) -> Script:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if closes:
            writer.close()

    return send


@asynccontextmanager
async def _store(*scripts: Script, timeouts: RetryPolicy = PATIENT) -> AsyncIterator[S3Store]:
    async with _server(*scripts) as endpoint:
        store = S3Store(S3Options(endpoint_url=endpoint, anonymous=True), timeouts=timeouts)
        yield store
        await store.aclose()


@pytest.mark.parametrize(
    "answer", [OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK], ids=["length", "chunked", "1xx"]
)
def test_an_answer_that_ends_at_any_byte_is_never_taken_for_whole(run: Run, answer: bytes) -> None:
    async def test() -> None:
        scripts = [_sending(answer[:length], closes=True) for length in range(len(answer))]
        async with _store(*scripts, _sending(answer)) as store:
            for _ in scripts:
                with pytest.raises((ConnectionLost, ShortRead), match=URI):
                    await store.get(URI)

            assert await store.get(URI) == b"hello"

    run(test)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.http")), ids=lambda path: path.stem)
def test_the_corpus_comes_as_h11_reads_it_or_not_at_all(run: Run, path: Path) -> None:
    data = path.read_bytes()
    reading = read_with_h11(data)

    async def test() -> None:
        async with _store(_sending(data, closes=True)) as store:
            try:
                body = bytes(await store.get(URI))
            except LoaderError:
                return

        assert (reading.status, reading.is_whole, reading.body) == (200, True, body)

    run(test)


@pytest.mark.parametrize(
    ("endless", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000, ServerFault),
        (b"x" * 1000, ServerFault),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10, ServerFault),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1000, ServerFault),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 1000, ServerFault),
    ],
)
def test_what_has_no_end_is_given_up(run: Run, endless: bytes, kind: type[FetchError]) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(endless)
        while not writer.is_closing():
            writer.write(endless[-1000:])
            await writer.drain()

    async def test() -> None:
        async with _store(send) as store:
            with pytest.raises(kind, match=URI):
                await store.get(URI)

    run(test)


@pytest.mark.parametrize(
    ("answer", "start"),
    [(OK, 0), (CHUNKED, 50), (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + bytes(999), 50)],
)
def test_what_drips_is_given_up(run: Run, answer: bytes, start: int) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        # The next byte is never far.
        writer.write(answer[:start])
        for place in range(start, len(answer)):
            if writer.is_closing():
                return
            writer.write(answer[place : place + 1])
            await asyncio.sleep(0.02)

    async def test() -> None:
        async with _store(send, timeouts=QUICK) as store:
            started = asyncio.get_running_loop().time()
            with pytest.raises(FetchTimeout):
                await store.get(URI)

            assert asyncio.get_running_loop().time() - started < 2

    run(test)


def test_a_second_answer_is_nobodys(run: Run) -> None:
    evil = OK.replace(b"hello", b"evil!")
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    ranged = (
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-99999/100000\r\nContent-Length: 100000\r\n\r\n"
        + b"x" * 100_000
    )

    async def test() -> None:
        for answer in (OK, CHUNKED, large, ranged):
            async with _store(_sending(answer + evil), _sending(OK)) as store:
                try:
                    if answer is ranged:
                        data = (await store.get_range(URI, 0, 100_000)).data
                    else:
                        data = await store.get(URI)
                    assert bytes(data) in answer
                except ServerFault:
                    pass

                # In the same turn of the loop as the answer before.
                assert await store.get(URI) == b"hello"

    run(test)


def test_a_body_beyond_all_memory_is_an_error_of_its_own(run: Run) -> None:
    huge = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\nhello"
    ranged = huge.replace(b"200 OK", b"206 Partial\r\nContent-Range: bytes 0-999999999999998/999999999999999")

    async def let(_: int) -> None:
        return None

    async def test() -> None:
        async with _store(_sending(huge), _sending(huge), _sending(ranged), _sending(OK)) as store:
            for call in (store.get(URI), store.get(URI, admit=let), store.get_range(URI, 0, 10**15)):
                with pytest.raises(FetchError, match=f"{URI}: there is no memory for") as caught:
                    await call
                assert type(caught.value) is FetchError

            assert await store.get(URI) == b"hello"

    run(test)


def test_what_admit_raises_at_once_comes_out(run: Run) -> None:
    class Admit:
        async def __call__(self, _: int) -> None:
            return None

        def now(self, _: int) -> bool:
            raise LookupError("a bug")

    async def test() -> None:
        async with _store(_sending(OK)) as store:
            with pytest.raises(LookupError, match="a bug"):
                await store.get(URI, admit=Admit())

            assert await store.get(URI) == b"hello"

    run(test)


@pytest.mark.parametrize("has_come", [True, False])
def test_closing_ends_a_body_that_waits_for_the_window(run: Run, has_come: bool) -> None:
    data = OK if has_come else b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000)

    async def test() -> None:
        waits, go_on = asyncio.Event(), asyncio.Event()

        async def admit(_: int) -> None:
            waits.set()
            await go_on.wait()

        async with _store(_sending(data)) as store:
            task = asyncio.create_task(store.get(URI, admit=admit))
            await waits.wait()
            await store.aclose()
            go_on.set()
            with pytest.raises(FetchError, match=f"{URI}: the store was closed"):
                await task

    run(test)


def test_cancelling_in_every_phase_leaves_no_file_open(run: Run) -> None:
    async def test() -> None:
        for data in (b"", OK[:20], OK[:40], CHUNKED[:60]):
            begun = asyncio.Event()

            async def send(writer: asyncio.StreamWriter, data: bytes = data, begun: asyncio.Event = begun) -> None:
                writer.write(data)
                begun.set()

            async with _store(send) as store:
                before = len(os.listdir("/proc/self/fd"))
                task = asyncio.create_task(store.get(URI))
                await begun.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                # The two ends of the connection.
                while len(os.listdir("/proc/self/fd")) > before:
                    await asyncio.sleep(0)

    run(test)


PROGRAM = """
import asyncio, sys
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store
store = S3Store(S3Options(endpoint_url=sys.argv[1], anonymous=True))
async def main():
    await store.get("s3://bucket/whole")
    task = asyncio.create_task(store.get("s3://bucket/half"))
    await asyncio.sleep(0.1)
    print("leaving", flush=True)
    if sys.argv[2] == "exit":
        raise SystemExit(3)
    return task
asyncio.run(main())
"""


@pytest.mark.parametrize(("way", "code"), [("exit", 3), ("return", 0)])
def test_a_program_that_leaves_in_the_middle_of_a_get_says_nothing(run: Run, way: str, code: int) -> None:
    async def test() -> None:
        async with _server(_sending(OK), _sending(OK[:-2])) as endpoint:
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-W", "error", "-c", PROGRAM, endpoint, way],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        assert (done.returncode, done.stdout, done.stderr) == (code, "leaving\n", "")

    run(test)
