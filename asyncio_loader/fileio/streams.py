"""Objects as binary files: what `torch.load` and `torch.save` read from and write to, part by part."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol, TypeVar

from asyncio_loader.errors import LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import ObjectInfo

__all__ = ["Parts", "Runner", "Sink", "reading", "writing"]

T = TypeVar("T")

# A jump reads as much anew: large enough for the small reads of a zip directory, small next to a part.
_READ_BUFFER_BYTES = 64 * 1024
# What is smaller is gathered, for every call of the loop thread costs some 100 µs; what is larger passes uncopied.
_WRITE_BUFFER_BYTES = 1024 * 1024
# After an interrupt, beside the second of `LoopThread.run`: `train` is to end within 2 s.
_LAST_ACT_S = 0.5


class Runner(Protocol):
    """What runs the coroutines: a `Link`."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """See `LoopThread.run`."""
        ...

    def clean_up(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """See `LoopThread.clean_up`."""
        ...


class Parts(Protocol):
    """What is read from: an `engine.parts.PartReader`."""

    async def open(self) -> ObjectInfo:
        """Find the object; all parts are of the version found."""
        ...

    async def part(self, number: int) -> Buffer:
        """A part, from 0."""
        ...

    async def aclose(self) -> None:
        """Drop what is under way."""
        ...


class Sink(Protocol):
    """What is written to: a `stores.upload.PartWriter`."""

    async def write(self, data: Buffer) -> None:
        """Take more bytes, which may be reused afterwards."""
        ...

    async def finish(self) -> None:
        """Make the object."""
        ...

    async def abort(self) -> None:
        """Drop all of it. Cancelled, that goes on by itself."""
        ...


@contextmanager
def reading(runner: Runner, parts: Parts, part_bytes: int) -> Iterator[BinaryIO]:
    """A file to read and seek in, for the length of the block. Raises what `Parts.open` raises."""
    try:
        info = runner.run(parts.open())
        raw = _PartFile(runner, parts, part_bytes, info.size_bytes)
        with io.BufferedReader(raw, _READ_BUFFER_BYTES) as file, _own_errors(raw):
            yield file
    finally:
        runner.clean_up(parts.aclose())


@contextmanager
def writing(runner: Runner, sink: Sink) -> Iterator[BinaryIO]:
    """A file to write to; the object is there when the block has been left without an exception.

    With one, what was sent is aborted before it comes out; of an interrupt only what half a second suffices for.
    """
    raw = _SinkFile(runner, sink)
    file = io.BufferedWriter(raw, _WRITE_BUFFER_BYTES)
    try:
        with _own_errors(raw):
            yield file
            # One that was closed in the block is written to its end already.
            file.close()
            runner.run(sink.finish())
    except BaseException as error:
        raw.drop()
        file.close()
        with suppress(LoaderError):
            # The first error tells the story; what could not be aborted stays in the journal.
            runner.clean_up(_abort_soon(sink) if isinstance(error, KeyboardInterrupt | SystemExit) else sink.abort())
        raise


async def _abort_soon(sink: Sink) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_ACT_S):
            await sink.abort()


class _Raw(io.RawIOBase):
    """Calls of the loop thread, and the error that tells why it goes wrong."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.failure: Exception | None = None

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(coroutine)
        except Exception as error:
            # The cause; whoever goes on all the same meets its echoes.
            self.failure = self.failure or error
            raise


@contextmanager
def _own_errors(raw: _Raw) -> Iterator[None]:
    """Raise the store's error where a library made another one of it, as torch's zip reader and writer do."""
    try:
        yield
    except Exception as error:
        if raw.failure is not None and error is not raw.failure:
            raise raw.failure from error
        raise


class _PartFile(_Raw):
    def __init__(self, runner: Runner, parts: Parts, part_bytes: int, size_bytes: int) -> None:
        super().__init__(runner)
        self._parts = parts
        self._part_bytes = part_bytes
        self._size_bytes = size_bytes
        self._position = 0
        # The part last read from: most reads need no other, and so no call of the loop.
        self._number = -1
        self._part: Buffer = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}, before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """At most what is left of one part; the buffered reader on top asks for the rest."""
        target = memoryview(buffer).cast("B")
        number, start = divmod(self._position, self._part_bytes)
        if self._position >= self._size_bytes or not target:
            return 0
        if number != self._number:
            # Let go of the old one first.
            self._number, self._part = -1, b""
            self._part = self._run(self._parts.part(number))
            # Over and handled: what comes later has other reasons.
            self.failure = None
            self._number = number
        piece = memoryview(self._part)[start : start + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


class _SinkFile(_Raw):
    def __init__(self, runner: Runner, sink: Sink) -> None:
        super().__init__(runner)
        self._sink = sink
        self._written_bytes = 0
        self._is_dropped = False

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written_bytes

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if not self._is_dropped:
            self._run(self._sink.write(view))
            self._written_bytes += len(view)
        return len(view)

    def drop(self) -> None:
        """Swallow what the buffer on top still has: closing it must not try to send that."""
        self._is_dropped = True
