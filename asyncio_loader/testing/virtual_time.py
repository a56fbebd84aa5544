"""An event loop that never waits: when nothing is ready, its clock jumps to the next timer.

Code that backs off for minutes is tested in microseconds, with exact times, and a test that is stuck says so::

    @in_virtual_time
    async def test_backs_off() -> None:
        await asyncio.sleep(3600)

        assert asyncio.get_running_loop().time() == 3600

Only what the loop itself schedules knows this clock. Sockets, pipes, subprocesses and threads live in real time and
are refused, or not waited for: a loop that depends on them looks stuck.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, NoReturn, ParamSpec, TypeVar, TypeVarTuple, Unpack

__all__ = ["Deadlock", "VirtualTimeLoop", "in_virtual_time", "run_in_virtual_time"]

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

_SHOWN_TASKS = 10


class Deadlock(RuntimeError):
    """Every task waits, and nothing that the loop knows of will ever wake one of them."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. The clock starts at 0. Not usable from other threads."""

    def __init__(self) -> None:
        self._selector_of_time = _JumpingSelector()
        super().__init__(self._selector_of_time)
        self._selector_of_time.on_stuck = self._raise_deadlock

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._selector_of_time.now_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Refused: a thread works in real time, which does not pass here."""
        raise RuntimeError(f"a VirtualTimeLoop cannot wait for a thread (run_in_executor of {func!r})")

    def _raise_deadlock(self) -> NoReturn:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        shown = "".join(f"\n  {_describe(task)}" for task in tasks[:_SHOWN_TASKS])
        more = f"\n  and {len(tasks) - _SHOWN_TASKS} more" if len(tasks) > _SHOWN_TASKS else ""
        raise Deadlock(f"nothing is ready and nothing is scheduled at {self.time():.6g} s; waiting:{shown}{more}")


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, debug: bool = True) -> T:
    """`asyncio.run` on a `VirtualTimeLoop`.

    Raises:
        Deadlock: see there. The tasks are cancelled before it comes out.
    """
    with asyncio.Runner(debug=debug, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function of a coroutine function, for pytest: fixtures and parameters still reach it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_in_virtual_time(test(*args, **kwargs))

    return run


class _JumpingSelector(selectors.BaseSelector):
    """A selector that moves a clock where another one would sleep."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.on_stuck: Callable[[], NoReturn]
        # The loop's own socket pair for wake-ups has to be registered somewhere.
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._selector.select(0)
        if not ready and timeout is None:
            self.on_stuck()
        if not ready and timeout is not None:
            self.now_s += max(0.0, timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


def _describe(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    place = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "its start"
    return f"{task.get_name()} at {place}"
