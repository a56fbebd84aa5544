"""What a backend over a store has in each process: the store, and the thread that its event loop lives in."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.stores.base import ObjectStore

__all__ = ["Link", "Links"]

S = TypeVar("S", bound=ObjectStore)
T = TypeVar("T")


class Link(Generic[S]):
    """Alive from the constructor until `close`, until it is collected, or until the interpreter ends.

    Attributes:
        store: used on the thread's loop alone.
        thread: any thread may run coroutines on it.
        close: drops the connections and ends the thread. Idempotent.
    """

    def __init__(self, store: S) -> None:
        self.store = store
        self.thread = LoopThread("asyncio-loader-files")
        # At exit finalizers run last made first: this one still finds the thread alive.
        self.close = weakref.finalize(self, _close, self.thread, store)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """See `LoopThread.run`."""
        return self.thread.run(coroutine)

    def clean_up(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """See `LoopThread.clean_up`."""
        self.thread.clean_up(coroutine)


class _Generation:
    """How many forks lie between the first process and this one.

    Other than a process id, which a container that has few of them soon gives out again, no process meets the number
    of one that it descends from.
    """

    number = 0

    @classmethod
    def _count(cls) -> None:
        cls.number += 1


os.register_at_fork(after_in_child=_Generation._count)


class Links(Generic[S]):
    """One link for each process that asks. Any thread may; a forked child leaves alone what its parent had."""

    def __init__(self) -> None:
        self._links: dict[int, Link[S]] = {}

    def open(self, new_store: Callable[[], S]) -> Link[S]:
        """The link of this process, made if there is none."""
        link = self._links.get(_Generation.number)
        if link is None:
            fresh = Link(new_store())
            # Instead of a lock, which a fork could inherit locked: of two threads at once one made it in vain.
            link = self._links.setdefault(_Generation.number, fresh)
            if link is not fresh:
                fresh.close()
        return link

    def close(self) -> None:
        """Close the link of this process, if there is one. Idempotent."""
        link = self._links.pop(_Generation.number, None)
        if link is not None:
            link.close()


def _close(thread: LoopThread, store: ObjectStore) -> None:
    thread.close(store.aclose)
