"""One request, with as many tries as the policy allows."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from asyncio_loader.errors import FetchError
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.backoff import Tries

__all__ = ["RetryLog", "retry_calls"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class RetryLog:
    """Says that something is tried again: one WARNING per kind of error, the rest at DEBUG.

    Hundreds of objects meet the same fault at once; one line tells the user, hundreds would hide it.
    """

    def __init__(self) -> None:
        self._seen: set[type[FetchError]] = set()

    def __call__(self, error: FetchError, attempt: int, pause_s: float) -> None:
        """Note that attempt number `attempt` failed and the next one comes after a pause."""
        is_new = type(error) not in self._seen
        self._seen.add(type(error))
        more = " (more of this kind are logged at DEBUG)" if is_new else ""
        level = logging.WARNING if is_new else logging.DEBUG
        logger.log(level, "%s; attempt %d failed, trying again in %.2f s%s", error, attempt, pause_s, more)


async def retry_calls(
    call: Callable[[], Awaitable[T]],
    uri: str,
    *,
    retry: RetryPolicy,
    rested_s: Callable[[], float] = float,
    on_attempt: Callable[[int], object] | None = None,
    on_retry: Callable[[FetchError, int, float], object] | None = None,
    draw: Callable[[], float] = random.random,
) -> tuple[T, int]:
    """What the call returns, and the number of calls it took.

    Args:
        call: makes one attempt.
        uri: the object it is about.
        retry: when to try again and when to give up.
        rested_s: seconds so far that the consumer took, not the server; they do not count. None of them, by default.
        on_attempt: called with the number of the attempt (from 1) before each.
        on_retry: called with the error, the number of the attempt and the pause in seconds before each pause. None: a
            `RetryLog` of its own.
        draw: source of the jitter, [0, 1).

    Raises:
        FetchError: of the last attempt's class; its message ends with the number of attempts and the time they took.

    Anything else that the call raises comes through at once. Cancelling it cancels the attempt under way and starts no
    other.
    """
    clock = asyncio.get_running_loop().time
    started_s = clock()
    tries = Tries(retry)
    while True:
        attempt = tries.failures + 1
        if on_attempt is not None:
            on_attempt(attempt)
        try:
            return await call(), attempt
        except FetchError as error:
            elapsed_s = clock() - started_s - rested_s()
            pause_s = tries.pause_s(error, elapsed_s, draw)
            if pause_s is None:
                # It says all that the last one said; what was behind that stays behind it.
                raise _given_up(error, uri, attempt, elapsed_s) from error.__cause__
            if on_retry is None:
                on_retry = RetryLog()
            on_retry(error, attempt, pause_s)
        await asyncio.sleep(pause_s)


def _given_up(error: FetchError, uri: str, attempts: int, elapsed_s: float) -> FetchError:
    said = str(error) if uri in str(error) else f"{uri}: {error}"
    if attempts > 1:
        said = f"{said} (gave up after {attempts} attempts in {elapsed_s:.1f} s)"
    given_up = error.retold(said)
    given_up.key, given_up.attempts, given_up.elapsed_s = uri, attempts, elapsed_s
    return given_up
