"""An event loop in a thread of its own: the one place where blocking code meets asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar

from asyncio_loader.bridge.orphan import end_with_parent
from asyncio_loader.bridge.thread_end import wait_until_gone
from asyncio_loader.errors import LoaderError

__all__ = ["WAKE_S", "LoopThread"]

T = TypeVar("T")

# A loop that has not left by then is stuck in a blocking call; its thread is a daemon and dies with the process.
_JOIN_S = 5.0

# What an interrupted call has for its clean-up. A request takes some 0.1 s; `train` is to end within 2 s of a Ctrl-C.
_CLEAN_UP_S = 1.0

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
    collecting it there touches nothing. A daemonic process (a DataLoader's worker) that has had one ends when its
    parent is gone: see `end_with_parent`.
    """

    def __init__(self, name: str = "asyncio-loader") -> None:
        end_with_parent()
        started: _Started = concurrent.futures.Future()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=_serve, args=(started,), name=name, daemon=True)
        self._thread.start()
        self._loop, self._end = started.result()
        self._abandoned: list[_Call[object]] = []
        self._finalizer = weakref.finalize(self, _stop, self._pid, self._thread, self._loop, self._end)

    @property
    def is_closed(self) -> bool:
        """True after `close`."""
        return not self._finalizer.alive

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it is done.

        What it raises is raised here. When the wait is interrupted (KeyboardInterrupt), the coroutine is cancelled, and
        for up to a second its end is awaited: its clean-up counts. A second interrupt gets through.

        Raises:
            LoaderError: it is closed, before or meanwhile; or this is the loop's own thread, or a forked child.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise LoaderError(f"{self._thread.name}: blocking code on the loop's own thread would wait for itself")
        self._check(coroutine)
        call = _Call(self._loop, coroutine)
        try:
            while not call.wait(WAKE_S) and self._thread.is_alive():
                pass
        except BaseException:
            call.cancel()
            until_s = time.monotonic() + _CLEAN_UP_S
            while not call.wait(min(WAKE_S, _CLEAN_UP_S)) and time.monotonic() < until_s:
                pass
            raise
        return call.result()

    def clean_up(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine that drops what somebody had, whoever asks for it.

        As `run`; but on the loop's own thread, where the garbage collector may end an abandoned generator or context
        manager, it is started and not awaited.
        """
        if threading.current_thread() is self._thread:
            self._abandoned.append(_Call(self._loop, coroutine))
            self._abandoned = [call for call in self._abandoned if not call.wait(0)]
        else:
            self.run(coroutine)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop; cancelling the future cancels it."""
        self._check(coroutine)
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
        """Cancel what still runs, run `cleanup` on the loop, and end the thread. Idempotent; a no-op after a fork."""
        if self.is_closed or os.getpid() != self._pid:
            return
        if threading.current_thread() is self._thread:
            # Whoever closes it was collected by its own loop, which cannot wait for itself.
            self._end.last_act = cleanup
            self._finalizer()
            return
        try:
            if cleanup is not None:
                self.run(_wind_up(self._end, cleanup))
        finally:
            self._finalizer()

    def _check(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Raise where nothing can be run; the coroutine is closed then, for nobody else will."""
        if os.getpid() != self._pid:
            coroutine.close()
            raise LoaderError(
                f"a loader made in process {self._pid} is used in process {os.getpid()}: make the iterator where you "
                "iterate (a dataset or Loader object itself may be handed to any process)"
            )
        if self.is_closed:
            coroutine.close()
            raise LoaderError("this loader is closed")


class _Call(Generic[T]):
    """A coroutine as a task of the loop, seen from other threads.

    The future of `asyncio.run_coroutine_threadsafe` is done as soon as it is cancelled; this one when the task is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._ended: concurrent.futures.Future[asyncio.Task[T]] = concurrent.futures.Future()
        try:
            loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            # Its loop is closed.
            coroutine.close()
            raise _closed_meanwhile() from None

    def wait(self, timeout_s: float) -> bool:
        """True if it has ended by then."""
        concurrent.futures.wait((self._ended,), timeout_s)
        return self._ended.done()

    def cancel(self) -> None:
        """Cancel it soon, if the loop still runs."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> T:
        """What it returned or raised; to be called once it has ended, or its loop."""
        if not self._ended.done():
            # It came behind the loop's last turn.
            raise _closed_meanwhile()
        try:
            return self._ended.result().result()
        except asyncio.CancelledError:
            raise _closed_meanwhile() from None
        finally:
            # Its error holds the frames of whoever called this, and they hold this.
            self._ended = self._task = None  # type: ignore[assignment]

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        # Behind `_begin` in the loop's order.
        assert self._task is not None
        self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        # Looked at, for asyncio complains of an error that nobody has seen, and an interrupted caller does not.
        _ = task.cancelled() or task.exception()
        self._ended.set_result(task)


def _closed_meanwhile() -> LoaderError:
    return LoaderError("this loader was closed meanwhile")


async def _wind_up(end: _End, cleanup: Callable[[], Awaitable[None]]) -> None:
    """End the other tasks first: what is still aborting must not open again what `cleanup` closes."""
    rest = asyncio.all_tasks() - {end.keeper, asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=_CLEAN_UP_S)
    await cleanup()


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
    """Set when the loop is to end; what it does last, and in which task; its threads, by their native ids."""

    last_act: Callable[[], Awaitable[None]] | None = None
    keeper: asyncio.Task[None] | None = None

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


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
    """What the loop makes tasks with."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **how)
    task.add_done_callback(_forget_cancellation)
    return task


def _forget_cancellation(task: asyncio.Task[Any]) -> None:
    """A task keeps the error that its coroutine was cancelled by, for whoever asks first; mostly nobody does.

    The error's traceback has the coroutine's frames, and one of them or what it refers to mostly has the task: all of
    it, blocks for objects included, would wait for the garbage collector, which comes more rarely the more there is.
    """
    if task.cancelled():
        with suppress(asyncio.CancelledError):
            task.exception()


async def _live(started: _Started) -> None:
    end = _End()
    end.keeper = asyncio.current_task()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(_make_task)
    loop.set_default_executor(_NotedExecutor(end))
    started.set_result((loop, end))
    await end.wait()
    if end.last_act is not None:
        await _wind_up(end, end.last_act)


def _stop(pid: int, thread: threading.Thread, loop: asyncio.AbstractEventLoop, end: _End) -> None:
    if os.getpid() != pid or not thread.is_alive():
        return
    loop.call_soon_threadsafe(end.set)
    # Collected by the loop's own thread, it cannot wait for itself.
    if thread is not threading.current_thread():
        thread.join(_JOIN_S)
        if not thread.is_alive():
            wait_until_gone(end.native_ids, _JOIN_S)
