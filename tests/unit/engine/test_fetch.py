from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.engine.fetch import fetch_object
from asyncio_loader.errors import (
    AccessDenied,
    ConfigError,
    ConnectionLost,
    FetchError,
    LoaderError,
    ObjectNotFound,
    ServerFault,
    Throttled,
)
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit
from asyncio_loader.testing import run_in_virtual_time

URI = "s3://bucket/key"
AT_ONCE = RetryPolicy(max_attempts=4, backoff_initial_s=0.0)


class ScriptedStore:
    """Answers each GET with the next line of a script."""

    def __init__(self, *answers: bytes | LoaderError) -> None:
        self.answers = list(answers)

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        answer = self.answers.pop(0)
        if isinstance(answer, LoaderError):
            raise answer
        if admit is not None:
            await admit(len(answer))
        return answer


async def fetch(store: ScriptedStore, retry: RetryPolicy = AT_ONCE) -> tuple[Buffer, int]:
    return await fetch_object(store, URI, retry=retry)  # type: ignore[arg-type]


async def test_the_first_answer_is_taken() -> None:
    assert await fetch(ScriptedStore(b"data")) == (b"data", 1)


async def test_a_passing_fault_is_tried_again() -> None:
    store = ScriptedStore(ConnectionLost("reset"), ServerFault("500"), Throttled("503"), b"data")

    assert await fetch(store) == (b"data", 4)


@pytest.mark.parametrize("error", [ObjectNotFound("no"), AccessDenied("no"), ConfigError("no")])
async def test_a_final_answer_is_not_asked_again(error: LoaderError) -> None:
    store = ScriptedStore(error, b"never asked for")

    with pytest.raises(type(error)):
        await fetch(store)
    assert len(store.answers) == 1


async def test_giving_up_names_key_attempts_and_time() -> None:
    reason = ConnectionResetError(104, "reset")
    lost = ConnectionLost("reset")
    lost.__cause__ = reason
    store = ScriptedStore(*[lost] * 4)

    with pytest.raises(
        ConnectionLost, match=r"s3://bucket/key: reset \(gave up after 4 attempts in 0\.0 s\)"
    ) as caught:
        await fetch(store)
    assert (caught.value.key, caught.value.attempts) == (URI, 4)
    # Its words are those of the last attempt, which would only say them twice.
    assert caught.value.__cause__ is reason


async def test_no_attempt_is_started_that_would_miss_the_deadline() -> None:
    retry = RetryPolicy(max_attempts=9, backoff_initial_s=1000.0, backoff_max_s=1000.0, deadline_s=5.0)
    store = ScriptedStore(ConnectionLost("reset"), b"too late")

    with pytest.raises(ConnectionLost):
        await fetch_object(store, URI, retry=retry, draw=lambda: 0.5)  # type: ignore[arg-type]
    assert len(store.answers) == 1


async def test_every_attempt_is_told() -> None:
    told: list[int] = []
    store = ScriptedStore(ServerFault("500"), b"data")

    await fetch_object(store, URI, retry=AT_ONCE, on_attempt=told.append)  # type: ignore[arg-type]

    assert told == [1, 2]


async def test_cancelling_during_the_pause_starts_no_other_get() -> None:
    store = ScriptedStore(ServerFault("500"), b"data")
    retry = RetryPolicy(backoff_initial_s=60.0, backoff_max_s=60.0)
    fetching = asyncio.create_task(fetch_object(store, URI, retry=retry, draw=lambda: 0.9))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert store.answers == [b"data"]


async def test_an_error_that_names_the_key_does_not_name_it_twice() -> None:
    with pytest.raises(FetchError) as caught:
        await fetch(ScriptedStore(ObjectNotFound(f"{URI}: no such key (HTTP 404)")))
    assert str(caught.value) == f"{URI}: no such key (HTTP 404)"


async def test_one_warning_per_kind_of_error_says_that_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = ScriptedStore(ConnectionLost(f"{URI}: reset"), ConnectionLost("reset"), ServerFault("500"), b"data")

    with caplog.at_level("DEBUG", logger="asyncio_loader.stores.retry"):
        await fetch(store)

    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "WARNING"]
    assert caplog.messages[0].startswith("s3://bucket/key: reset; attempt 1 failed, trying again in 0.00 s")


def test_time_spent_resting_for_the_window_does_not_count_against_the_deadline() -> None:
    """A consumer that pauses for an evaluation must not find the epoch dead."""

    class DropsWhatRested(ScriptedStore):
        async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
            data = await super().get(uri, admit=admit)
            if self.answers:
                raise ConnectionLost("dropped by the server meanwhile")
            return data

    async def pause(_: int) -> None:
        await asyncio.sleep(1000.0)

    retry = RetryPolicy(deadline_s=5.0)
    store = DropsWhatRested(b"first", b"second")
    fetching = fetch_object(store, URI, retry=retry, admit=pause)  # type: ignore[arg-type]

    assert run_in_virtual_time(fetching) == (b"second", 2)
