"""One object, with as many tries as the policy allows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

from asyncio_loader.errors import FetchError
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectStore, admits_now
from asyncio_loader.stores.retry import retry_calls

__all__ = ["fetch_object"]


class _Rest:
    """An `admit` that knows how long it kept bodies waiting: time that the consumer took, not the server."""

    def __init__(self, admit: Admit, clock: Callable[[], float]) -> None:
        self._admit = admit
        self._clock = clock
        self.total_s = 0.0

    def now(self, size_bytes: int) -> bool:
        """See `stores.base.Admit`."""
        return admits_now(self._admit, size_bytes)

    async def __call__(self, size_bytes: int) -> None:
        started = self._clock()
        try:
            await self._admit(size_bytes)
        finally:
            self.total_s += self._clock() - started


async def fetch_object(
    store: ObjectStore,
    uri: str,
    *,
    retry: RetryPolicy,
    admit: Admit | None = None,
    on_attempt: Callable[[int], object] | None = None,
    on_retry: Callable[[FetchError, int, float], object] | None = None,
    draw: Callable[[], float] = random.random,
) -> tuple[Buffer, int]:
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
    rest = None if admit is None else _Rest(admit, asyncio.get_running_loop().time)
    return await retry_calls(
        partial(store.get, uri, admit=rest),
        uri,
        retry=retry,
        rested_s=lambda: 0.0 if rest is None else rest.total_s,
        on_attempt=on_attempt,
        on_retry=on_retry,
        draw=draw,
    )
