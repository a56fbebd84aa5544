from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.errors import LoaderError


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_it_runs_coroutines_for_blocking_code() -> None:
    loop_thread = LoopThread()
    try:
        assert loop_thread.run(answer(42)) == 42
    finally:
        loop_thread.close()


def test_what_a_coroutine_raises_is_raised_here() -> None:
    async def fail() -> None:
        raise KeyError("x")

    loop_thread = LoopThread()
    try:
        with pytest.raises(KeyError):
            loop_thread.run(fail())
    finally:
        loop_thread.close()


def test_close_runs_the_cleanup_on_the_loop_ends_the_thread_and_is_idempotent() -> None:
    cleaned: list[str] = []

    async def cleanup() -> None:
        cleaned.append(threading.current_thread().name)

    loop_thread = LoopThread("its-name")
    loop_thread.close(cleanup)
    loop_thread.close(cleanup)

    assert cleaned == ["its-name"]
    assert "its-name" not in {thread.name for thread in threading.enumerate()}


def test_close_cancels_what_still_runs() -> None:
    cancelled = threading.Event()

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    loop_thread = LoopThread()
    future = loop_thread.start(wait_for_ever())
    loop_thread.run(answer(0))
    loop_thread.close()

    assert cancelled.is_set()
    assert future.cancelled()


def test_closed_by_its_own_loop_it_cleans_up_as_its_last_act() -> None:
    cleaned = threading.Event()

    async def cleanup() -> None:
        cleaned.set()

    loop_thread = LoopThread("closed-from-within")
    loop_thread.call(loop_thread.close, cleanup)

    assert cleaned.wait(timeout=10)
    for thread in threading.enumerate():
        if thread.name == "closed-from-within":
            thread.join(timeout=10)
    assert "closed-from-within" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are listed on Linux alone")
def test_close_returns_when_its_threads_are_gone_from_the_system() -> None:
    async def use_the_executor() -> None:
        await asyncio.to_thread(threading.get_native_id)

    before = set(os.listdir("/proc/self/task"))
    for _ in range(300):
        loop_thread = LoopThread()
        loop_thread.run(use_the_executor())
        loop_thread.close()

        assert set(os.listdir("/proc/self/task")) <= before


def test_a_closed_one_refuses_work() -> None:
    loop_thread = LoopThread()
    loop_thread.close()

    with pytest.raises(LoaderError, match="closed"):
        loop_thread.run(answer(1))
    loop_thread.call(print, "nobody listens")


def test_collecting_it_ends_the_thread() -> None:
    loop_thread = LoopThread("to-be-collected")
    alive = weakref.ref(loop_thread)

    del loop_thread
    gc.collect()

    assert alive() is None
    assert "to-be-collected" not in {thread.name for thread in threading.enumerate()}


def test_in_a_forked_child_it_refuses_and_closing_does_nothing() -> None:
    loop_thread = LoopThread()
    child = os.fork()
    if child == 0:
        try:
            loop_thread.run(answer(1))
        except LoaderError:
            loop_thread.close()
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert loop_thread.run(answer(5)) == 5
    loop_thread.close()


def test_a_program_that_forgets_to_close_exits_at_once() -> None:
    program = (
        "import asyncio\n"
        "from asyncio_loader.bridge.loop_thread import LoopThread\n"
        "forgotten = LoopThread()\n"
        "async def wait(): await asyncio.sleep(1000)\n"
        "forgotten.start(wait())\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_interrupts_the_wait_and_cancels_the_coroutine() -> None:
    cancelled = threading.Event()

    async def interrupt_the_waiter() -> None:
        # On this thread: the one that waits is not woken by it, as if it had come just before the wait.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    loop_thread = LoopThread()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop_thread.run(interrupt_the_waiter())
        assert cancelled.wait(timeout=5)
    finally:
        loop_thread.close()


async def _interrupt_and_take_time_to_clean_up(cleaned: list[str]) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.1)
        cleaned.append("up")


@pytest.mark.usefixtures("ctrl_c_raises")
def test_an_interrupted_call_returns_when_its_clean_up_has_ended() -> None:
    cleaned: list[str] = []
    loop_thread = LoopThread()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop_thread.run(_interrupt_and_take_time_to_clean_up(cleaned))
        assert cleaned == ["up"]
    finally:
        loop_thread.close()


@pytest.mark.usefixtures("ctrl_c_raises")
def test_an_interrupted_call_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.bridge.loop_thread._CLEAN_UP_S", 0.05)
    go_on = threading.Event()

    async def clean_up_for_ever() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(go_on.wait)

    loop_thread = LoopThread()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop_thread.run(clean_up_for_ever())
    finally:
        go_on.set()
        loop_thread.close()


@pytest.mark.usefixtures("ctrl_c_raises")
def test_a_second_ctrl_c_breaks_through_the_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.bridge.loop_thread._CLEAN_UP_S", 60.0)
    go_on = asyncio.Event()

    async def interrupt_again() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await go_on.wait()

    loop_thread = LoopThread()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            loop_thread.run(interrupt_again())
        assert isinstance(caught.value.__context__, KeyboardInterrupt)
    finally:
        loop_thread.call(go_on.set)
        loop_thread.close()


def test_what_still_runs_ends_before_the_cleanup() -> None:
    acts: list[str] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            acts.append("cancelled")

    async def cleanup() -> None:
        acts.append("closed")

    loop_thread = LoopThread()
    loop_thread.start(wait_for_ever())
    loop_thread.run(answer(0))
    loop_thread.close(cleanup)

    assert acts == ["cancelled", "closed"]


def test_a_call_that_is_closed_over_says_so() -> None:
    loop_thread = LoopThread()

    async def close_and_wait() -> None:
        loop_thread.close()
        await asyncio.Event().wait()

    with pytest.raises(LoaderError, match="closed meanwhile"):
        loop_thread.run(close_and_wait())


def test_a_call_that_comes_behind_the_loops_end_says_so() -> None:
    loop_thread = LoopThread()
    loop_thread.call(loop_thread._end.set)
    loop_thread._thread.join()

    with pytest.raises(LoaderError, match="closed meanwhile"):
        loop_thread.run(answer(1))
    loop_thread.close()


def test_on_its_own_thread_a_call_is_refused_and_a_clean_up_is_started() -> None:
    loop_thread = LoopThread("its-name")
    refusals: list[LoaderError] = []
    cleaned = threading.Event()

    async def clean_up() -> None:
        await asyncio.sleep(0)
        cleaned.set()

    async def block() -> None:
        try:
            loop_thread.run(answer(1))
        except LoaderError as error:
            refusals.append(error)
        loop_thread.clean_up(clean_up())

    try:
        loop_thread.run(block())
        assert cleaned.wait(timeout=5)
    finally:
        loop_thread.close()
    assert str(refusals[0]) == "its-name: blocking code on the loop's own thread would wait for itself"


def test_elsewhere_a_clean_up_is_awaited() -> None:
    cleaned: list[str] = []

    async def clean_up() -> None:
        await asyncio.sleep(0)
        cleaned.append("up")

    loop_thread = LoopThread()
    try:
        loop_thread.clean_up(clean_up())
        assert cleaned == ["up"]
    finally:
        loop_thread.close()


def test_a_loop_that_cannot_start_raises_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> asyncio.AbstractEventLoop:
        raise OSError("no more file descriptors")

    monkeypatch.setattr("asyncio_loader.bridge.loop_thread._new_event_loop", refuse)

    with pytest.raises(OSError, match="file descriptors"):
        LoopThread()
