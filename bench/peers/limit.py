"""What nobody can beat: a bare protocol for GETs, and decoding from RAM for loaders.

The protocol signs by itself and takes every answer, head and body, into a buffer that is there, with as few reads
as the kernel allows; it has no pool of connections, no timeout, no retry, and hands nothing on. What a client costs
beyond it is the price of being one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import ssl
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvloop

from bench.measure import Cost, cost_of
from bench.peers.images import decode as decode_image
from bench.peers.tasks import BUCKET, REGION, GetTask, LoadTask

__all__ = ["decode", "get"]

_HEAD_BYTES = 1024
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_BATCHES_AHEAD = 4


def get(task: GetTask) -> Cost:
    """GETs over `in_flight` connections, each of which sends the next when one is done."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_get(task))


def decode(task: LoadTask) -> Iterator[list[Any]]:
    """Images from memory, a batch per thread at a time, in order."""
    bodies = [path.read_bytes() for path in sorted(Path(task.jpegs).iterdir())]
    numbers = [int(key[-16:-4]) for key in task.shuffled_keys()]
    chunks = (numbers[start : start + task.batch] for start in range(0, task.images, task.batch))

    def decode_batch(chunk: list[int]) -> list[Any]:
        return [decode_image(bodies[number % len(bodies)]) for number in chunk]

    waiting: deque[Future[list[Any]]] = deque()
    with ThreadPoolExecutor(task.workers) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(decode_batch, chunk))
            if len(waiting) == _BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


async def _get(task: GetTask) -> Cost:
    host, port, is_tls = task.address
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=task.ca_bundle) if is_tls else None
    sign = _Signer(f"{host}:{port}")
    free: list[bytearray] = []
    protocols = []
    try:
        for _ in range(task.in_flight):
            _, protocol = await loop.create_connection(lambda: _Protocol(sign, task, free), host, port, ssl=context)
            protocols.append(protocol)
        await _run(protocols, task.warm_gets)
        with cost_of() as cost:
            await _run(protocols, task.gets)
    finally:
        for protocol in protocols:
            protocol.transport.abort()
        # The transports end in the loop's next turn.
        await asyncio.sleep(0)
    return cost


async def _run(protocols: list[_Protocol], count: int) -> None:
    done = asyncio.get_running_loop().create_future()
    numbers = iter(range(count))
    left = itertools.count(count - 1, -1)
    for protocol in protocols:
        protocol.start(numbers, left, done)
    await done


class _Signer:
    """Makes the request of a GET; signed as S3 wants it, with the day's key kept."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._key_id = os.environ["AWS_ACCESS_KEY_ID"]
        self._second = -1
        self._stamp = self._scope = ""
        self._key = b""

    def __call__(self, path: str) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._set_time(second)
        stamp = self._stamp
        headers = f"host:{self._host}\nx-amz-content-sha256:{_EMPTY_SHA256}\nx-amz-date:{stamp}\n"
        names = "host;x-amz-content-sha256;x-amz-date"
        request = f"GET\n{path}\n\n{headers}\n{names}\n{_EMPTY_SHA256}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{self._scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return (
            f"GET {path} HTTP/1.1\r\nhost: {self._host}\r\nx-amz-content-sha256: {_EMPTY_SHA256}\r\n"
            f"x-amz-date: {stamp}\r\nauthorization: AWS4-HMAC-SHA256 Credential={self._key_id}/{self._scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\n\r\n"
        ).encode()

    def _set_time(self, second: int) -> None:
        self._second = second
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = self._stamp[:8]
        self._scope = f"{day}/{REGION}/s3/aws4_request"
        key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
        for part in (day, REGION, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._key = key


class _Protocol(asyncio.BufferedProtocol):
    """One connection: a request, its answer into a buffer, the next request.

    Answers share the buffers, and the one left last is taken next: the cache of the processor still holds it.
    """

    transport: asyncio.Transport

    def __init__(self, sign: _Signer, task: GetTask, free: list[bytearray]) -> None:
        self._sign = sign
        self._task = task
        self._free = free
        self._answer: bytearray | None = None
        self._filled = 0
        # Bytes of the answer, once its head is there.
        self._length = 0
        self._numbers: Iterator[int] = iter(())
        self._left: Iterator[int] = iter(())
        self._done: asyncio.Future[None]

    def start(self, numbers: Iterator[int], left: Iterator[int], done: asyncio.Future[None]) -> None:
        """Take numbers until there are none; whoever ends the last GET sets `done`."""
        self._numbers, self._left, self._done = numbers, left, done
        self._send()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server has closed a connection"))

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._answer is None:
            # A read that fills its buffer is followed by another, in vain: this one is longer than any answer.
            self._answer = self._free.pop() if self._free else bytearray(_HEAD_BYTES + self._task.size_bytes + 1)
        return memoryview(self._answer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        assert answer is not None
        self._filled += nbytes
        if not self._length:
            self._read_head(answer)
        if self._filled == self._length:
            self._free.append(answer)
            self._answer, self._filled, self._length = None, 0, 0
            if next(self._left) == 0:
                self._done.set_result(None)
            else:
                self._send()

    def _read_head(self, answer: bytearray) -> None:
        end = answer.find(b"\r\n\r\n", 0, min(self._filled, _HEAD_BYTES))
        if end < 0:
            if self._filled >= _HEAD_BYTES:
                raise ValueError("a head of more than a kilobyte")
            return
        head = answer[:end].lower()
        if not head.startswith(b"http/1.1 200 "):
            raise ValueError(f"the server said {bytes(head[:40])!r}")
        start = head.index(b"\ncontent-length:") + 16
        stop = head.find(b"\r", start)
        size_bytes = int(head[start : stop if stop >= 0 else end])
        if size_bytes != self._task.size_bytes:
            raise ValueError(f"a body of {size_bytes} bytes in place of {self._task.size_bytes}")
        self._length = end + 4 + size_bytes

    def _send(self) -> None:
        number = next(self._numbers, None)
        if number is not None:
            self.transport.write(self._sign(f"/{BUCKET}/{self._task.key(number)}"))
