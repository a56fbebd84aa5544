"""libcurl through pycurl: its multi interface on epoll, one handle per GET in flight, our signatures."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from typing import Any

import pycurl

from asyncio_loader.stores.s3.sigv4 import Keys, Signer
from bench.measure import Cost, cost_of
from bench.peers.tasks import BUCKET, REGION, GetTask

__all__ = ["get"]

# The most that libcurl passes to a callback at once; its default of 16 KB means seven calls for 115 KB.
_BUFFER_BYTES = 512 * 1024
_LONGEST_WAIT_S = 1.0


def get(task: GetTask) -> Cost:
    """Every body is put together in a buffer of its size."""
    multi = _Multi(task)
    multi.run(task.warm_gets)
    with cost_of() as cost:
        multi.run(task.gets)
    return cost


class _Multi:
    def __init__(self, task: GetTask) -> None:
        self._task = task
        self._epoll = select.epoll()
        self._deadline_s = 0.0
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, task.in_flight)
        host, port, _ = task.address
        self._host = f"{host}:{port}"
        self._signer = Signer(Keys(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]), REGION)
        self._transfers = [_Transfer(task) for _ in range(task.in_flight)]
        self._of_handle = {transfer.handle: transfer for transfer in self._transfers}

    def run(self, count: int) -> None:
        numbers = iter(range(count))
        self._left = count
        for transfer in self._transfers:
            self._start(transfer, numbers)
        while self._left:
            wait_s = min(max(self._deadline_s - time.monotonic(), 0.0), _LONGEST_WAIT_S)
            events = self._epoll.poll(wait_s)
            if not events:
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            for file, event in events:
                mask = (pycurl.CSELECT_IN if event & ~select.EPOLLOUT else 0) | (
                    pycurl.CSELECT_OUT if event & select.EPOLLOUT else 0
                )
                self._multi.socket_action(file, mask)
            self._collect(numbers)

    def _start(self, transfer: _Transfer, numbers: Iterator[int]) -> None:
        number = next(numbers, None)
        if number is None:
            return
        path = f"/{BUCKET}/{self._task.key(number)}"
        headers = self._signer.sign("GET", self._host, path, now_s=time.time())
        transfer.prepare(self._task.endpoint_url + path, [f"{name}: {value}" for name, value in headers.items()])
        self._multi.add_handle(transfer.handle)

    def _collect(self, numbers: Iterator[int]) -> None:
        _, done, failed = self._multi.info_read()
        if failed:
            raise ConnectionError(failed[0][2])
        for handle in done:
            self._multi.remove_handle(handle)
            transfer = self._of_handle[handle]
            transfer.check()
            self._left -= 1
            self._start(transfer, numbers)

    def _watch(self, event: int, file: int, multi: Any, data: Any) -> None:
        del multi, data
        if event == pycurl.POLL_REMOVE:
            self._epoll.unregister(file)
            return
        mask = (select.EPOLLIN if event & pycurl.POLL_IN else 0) | (select.EPOLLOUT if event & pycurl.POLL_OUT else 0)
        try:
            self._epoll.modify(file, mask)
        except FileNotFoundError:
            self._epoll.register(file, mask)

    def _set_timer(self, timeout_ms: int) -> None:
        self._deadline_s = time.monotonic() + (timeout_ms / 1000 if timeout_ms >= 0 else _LONGEST_WAIT_S)


class _Transfer:
    def __init__(self, task: GetTask) -> None:
        self._size_bytes = task.size_bytes
        self._body = memoryview(b"")
        self._filled = 0
        self.handle = pycurl.Curl()
        self.handle.setopt(pycurl.WRITEFUNCTION, self._write)
        self.handle.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
        self.handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        self.handle.setopt(pycurl.FAILONERROR, 1)
        self.handle.setopt(pycurl.PROXY, "")
        if task.ca_bundle:
            self.handle.setopt(pycurl.CAINFO, task.ca_bundle)

    def prepare(self, url: str, headers: list[str]) -> None:
        self._body, self._filled = memoryview(bytearray(self._size_bytes)), 0
        self.handle.setopt(pycurl.URL, url)
        self.handle.setopt(pycurl.HTTPHEADER, headers)

    def check(self) -> None:
        if self._filled != self._size_bytes:
            raise ValueError(f"a body of {self._filled} bytes in place of {self._size_bytes}")

    def _write(self, data: bytes) -> None:
        end = self._filled + len(data)
        self._body[self._filled : end] = data
        self._filled = end
