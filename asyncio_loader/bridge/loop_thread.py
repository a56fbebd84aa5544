"""An event loop in a thread of its own: the one place where blocking code meets asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from asyncio_loader.bridge.thread_end import wait_until_gone
from asyncio_loader.errors import LoaderError

__all__ = ["WAKE_S", "LoopThread"]

T = TypeVar("T")

# A loop that has not left by then is stuck in a blocking call; its thread is a daemon and dies with the process.
_JOIN_S = 5.0

WAKE_S = 0.5
"""Longest sleep in seconds of a thread that waits for another.

Python notices a Ctrl-C where the main thread runs its own instructions. A signal that comes just before the thread
goes to sleep in a lock, or that the system hands to another thread, does not wake it: so it looks by itself.
"""


class LoopThread:
    """A daemon thread that runs an event loop (uvloop where it exists) until it is closed.

    The constructor returns a live loop or raises what kept it from starting. It stops at `close`, at garbage
    collection, and at interpreter exit, whichever comes first; tasks still running then are cancelled and awaited.

    Any thread of the process that made it may use it. In a forked child it is dead: every call raises, and
    collecting it there touches nothing.
    """

    def __init__(self, name: str = "asyncio-loader") -> None:
        started: _Started = concurrent.futures.Future()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=_serve, args=(started,), name=name, daemon=True)
        self._thread.start()
        self._loop, self._end = started.result()
        self._finalizer = weakref.finalize(self, _stop, self._pid, self._thread, self._loop, self._end)

    @property
    def is_closed(self) -> bool:
        """True after `close`."""
        return not self._finalizer.alive

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it is done.

        What it raises is raised here. When the wait is interrupted (KeyboardInterrupt), the coroutine is cancelled.
        """
        future = self.start(coroutine)
        try:
            while not future.done():
                concurrent.futures.wait((future,), WAKE_S)
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop; cancelling the future cancels it."""
        try:
            self._check()
        except LoaderError:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the loop soon, from any thread. Silently nothing once the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop closed in between: whoever it was for is gone too.
            if not self._loop.is_closed():
                raise

    def close(self, cleanup: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run `cleanup` on the loop, cancel what still runs, and end the thread. Idempotent; a no-op after a fork."""
        if self.is_closed or os.getpid() != self._pid:
            return
        if threading.current_thread() is self._thread:
            # Whoever closes it was collected by its own loop, which cannot wait for itself.
            self._end.last_act = cleanup
            self._finalizer()
            return
        try:
            if cleanup is not None:
                self.run(_await(cleanup))
        finally:
            self._finalizer()

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise LoaderError(
                f"a loader made in process {self._pid} is used in process {os.getpid()}: make the iterator where you "
                "iterate (a dataset or Loader object itself may be handed to any process)"
            )
        if self.is_closed:
            raise LoaderError("this loader is closed")


async def _await(function: Callable[[], Awaitable[None]]) -> None:
    await function()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _serve(started: _Started) -> None:
    try:
        with asyncio.Runner(loop_factory=_new_event_loop) as runner:
            runner.run(_live(started))
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


class _End(asyncio.Event):
    """Set when the loop is to end; what it does last; the threads it has made by then, by their native ids."""

    last_act: Callable[[], Awaitable[None]] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.native_ids = [threading.get_native_id()]

    def note_thread(self) -> None:
        """Called in each of them."""
        self.native_ids.append(threading.get_native_id())


class _NotedExecutor(concurrent.futures.ThreadPoolExecutor):
    """The loop's executor. Its threads are noted, and so is the one that asyncio makes to shut it down."""

    def __init__(self, end: _End) -> None:
        super().__init__(initializer=end.note_thread)
        self._note = end.note_thread

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._note()
        super().shutdown(wait, cancel_futures=cancel_futures)


_Started: TypeAlias = "concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, _End]]"


async def _live(started: _Started) -> None:
    end = _End()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_NotedExecutor(end))
    started.set_result((loop, end))
    await end.wait()
    if end.last_act is not None:
        await end.last_act()


def _stop(pid: int, thread: threading.Thread, loop: asyncio.AbstractEventLoop, end: _End) -> None:
    if os.getpid() != pid or not thread.is_alive():
        return
    loop.call_soon_threadsafe(end.set)
    # Collected by the loop's own thread, it cannot wait for itself.
    if thread is not threading.current_thread():
        thread.join(_JOIN_S)
        if not thread.is_alive():
            wait_until_gone(end.native_ids, _JOIN_S)
