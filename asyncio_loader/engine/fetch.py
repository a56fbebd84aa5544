"""One object, with as many tries as the policy allows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from asyncio_loader.errors import FetchError
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectStore, admits_now
from asyncio_loader.stores.retry import retry_calls

__all__ = ["Getting", "fetch_object"]


class Getting:
    """One object's GETs. As an `admit` it knows how long bodies were kept waiting, which is not the server's time.

    Attributes:
        uri: the object.
        rested_s: that time so far.
        is_resting: a body is being kept waiting.
    """

    __slots__ = ("_admit", "_store", "is_resting", "rested_s", "uri")

    def __init__(self, store: ObjectStore, uri: str, admit: Admit | None) -> None:
        self._store = store
        self._admit = admit
        self.uri = uri
        self.rested_s = 0.0
        self.is_resting = False

    def attempt(self) -> Awaitable[Buffer]:
        """One GET."""
        return self._store.get(self.uri, admit=None if self._admit is None else self)

    def count_rest(self) -> float:
        """See `retry_calls`."""
        return self.rested_s

    def now(self, size_bytes: int) -> bool:
        """See `stores.base.Admit`."""
        return self._admit is not None and admits_now(self._admit, size_bytes)

    async def __call__(self, size_bytes: int) -> None:
        assert self._admit is not None
        clock = asyncio.get_running_loop().time
        started_s = clock()
        self.is_resting = True
        try:
            await self._admit(size_bytes)
        finally:
            self.is_resting = False
            self.rested_s += clock() - started_s


def fetch_object(
    store: ObjectStore,
    uri: str,
    *,
    retry: RetryPolicy,
    admit: Admit | None = None,
    on_attempt: Callable[[int], object] | None = None,
    on_retry: Callable[[FetchError, int, float], object] | None = None,
    draw: Callable[[], float] = random.random,
) -> Coroutine[Any, Any, tuple[Buffer, int]]:
    """The bytes of an object, and the number of GETs it took.

    Args:
        store: where it lives.
        uri: the object.
        retry: when to try again and when to give up; time spent in `admit` does not count.
        admit: see `stores.base.Admit`; called once per attempt that gets as far as a body.
        on_attempt: see `retry_calls`, as the next two.
        on_retry: a `RetryLog` that many objects share makes one line of what happens to all of them.
        draw: source of the jitter, [0, 1).

    Raises:
        FetchError: of the last attempt's class; its message ends with the number of attempts and the time they took.
        ConfigError: at once, from the store.

    Cancelling it cancels the GET under way and starts no other.
    """
    getting = Getting(store, uri, admit)
    return retry_calls(
        getting.attempt,
        uri,
        retry=retry,
        rested_s=getting.count_rest,
        on_attempt=on_attempt,
        on_retry=on_retry,
        draw=draw,
    )
