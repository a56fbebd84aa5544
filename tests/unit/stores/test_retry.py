"""What is tried again, how often, and what is said about it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter

import pytest

from asyncio_loader.errors import AccessDenied, ConnectionLost, FetchError, ObjectChanged, ServerFault, Throttled
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.retry import RetryLog, retry_calls
from asyncio_loader.testing import in_virtual_time, run_in_virtual_time

URI = "s3://bucket/key"
AT_ONCE = RetryPolicy(max_attempts=4, backoff_initial_s=0.0)


class Script:
    """Raises one error after the other, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_passing_faults_are_tried_again() -> None:
    script = Script(ConnectionLost("reset"), ServerFault("500"), Throttled("503"))

    assert await retry_calls(script, URI, retry=AT_ONCE) == ("done", 4)


@pytest.mark.parametrize("error", [AccessDenied("no"), ObjectChanged("other"), LookupError("bug")])
async def test_anything_else_comes_through_at_once(error: Exception) -> None:
    script = Script(error)

    with pytest.raises(type(error)):
        await retry_calls(script, URI, retry=AT_ONCE)

    assert script.calls == 1


async def test_the_last_error_tells_object_attempts_and_time() -> None:
    script = Script(*[ServerFault("500")] * 9)

    with pytest.raises(ServerFault, match=rf"^{URI}: 500 \(gave up after 4 attempts in 0\.0 s\)$") as caught:
        await retry_calls(script, URI, retry=AT_ONCE)

    assert (caught.value.key, caught.value.attempts) == (URI, 4)


def test_the_deadline_counts_no_time_that_the_consumer_took() -> None:
    policy = RetryPolicy(deadline_s=10, backoff_initial_s=8, backoff_max_s=8)

    async def attempts(rested_s: float) -> int:
        script = Script(*[ServerFault("500")] * 9)
        with pytest.raises(FetchError):
            await retry_calls(script, URI, retry=policy, rested_s=lambda: rested_s, draw=lambda: 0.999)
        return script.calls

    assert run_in_virtual_time(attempts(0.0)) == 2
    assert run_in_virtual_time(attempts(8.0)) == 3


@in_virtual_time
async def test_throttling_is_outlived_up_to_the_deadline() -> None:
    script = Script(*[Throttled("503")] * 10_000)

    with pytest.raises(Throttled) as caught:
        await retry_calls(script, URI, retry=RetryPolicy(), draw=random.Random(0).random)

    # After the first half dozen a pause of 2.5 s in the mean.
    assert 175 < caught.value.elapsed_s <= 180
    assert caught.value.attempts == script.calls
    assert 60 < script.calls < 100


@in_virtual_time
async def test_retry_after_is_the_least_pause() -> None:
    script = Script(Throttled("503", retry_after_s=7.0), Throttled("503", retry_after_s=2.0))

    await retry_calls(script, URI, retry=RetryPolicy(), draw=lambda: 0.0)

    assert asyncio.get_running_loop().time() == 9.0


async def test_what_the_server_said_last_is_kept() -> None:
    script = Script(Throttled("503", retry_after_s=300.0))

    with pytest.raises(Throttled) as caught:
        await retry_calls(script, URI, retry=RetryPolicy(deadline_s=5.0))

    assert (caught.value.retry_after_s, caught.value.attempts) == (300.0, 1)


async def test_one_warning_for_each_kind_of_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = RetryLog()

    for _ in range(3):
        script = Script(ServerFault("500"), ConnectionLost("reset"))
        await retry_calls(script, URI, retry=AT_ONCE, on_retry=log)

    assert Counter(record.levelname for record in caplog.records) == {"WARNING": 2, "DEBUG": 4}


class Bucket:
    """A server that takes so many requests per second, and none before it is up."""

    def __init__(self, per_second: float, *, up_s: float = 0.0, retry_after_s: float | None = None) -> None:
        self.times: list[float] = []
        self._per_second = per_second
        self._up_s = up_s
        self._retry_after_s = retry_after_s
        self._free_s = 0.0

    async def __call__(self) -> None:
        now = asyncio.get_running_loop().time()
        self.times.append(now)
        await asyncio.sleep(0.02)
        # A twentieth of a second's worth may come at once.
        if now < self._up_s or self._free_s > now + 0.05:
            raise Throttled("503", retry_after_s=self._retry_after_s)
        self._free_s = max(self._free_s, now) + 1 / self._per_second

    def most_per_second(self, since_s: float) -> int:
        """Requests in the worst second from then on."""
        return max(Counter(int(time) for time in self.times if time >= since_s).values(), default=0)


async def _herd(bucket: Bucket) -> float:
    """512 objects at the same moment; when the last one has come."""
    draw = random.Random(0).random
    async with asyncio.TaskGroup() as group:
        for _ in range(512):
            group.create_task(retry_calls(bucket, URI, retry=RetryPolicy(), draw=draw, on_retry=lambda *_: None))
    return asyncio.get_running_loop().time()


def test_a_herd_that_was_refused_at_once_spreads() -> None:
    bucket = Bucket(100)

    ended_s = run_in_virtual_time(_herd(bucket), debug=False)

    # 5.1 s is the least possible. The numbers in the docstring of RetryPolicy come from here.
    assert ended_s < 9
    assert len(bucket.times) < 8 * 512
    assert bucket.most_per_second(since_s=2.0) < 512


def test_a_herd_comes_back_soon_after_an_outage() -> None:
    bucket = Bucket(500, up_s=10.0)

    ended_s = run_in_virtual_time(_herd(bucket), debug=False)

    assert 11 < ended_s < 10 + 6
    assert bucket.most_per_second(since_s=5.0) < 300


def test_a_herd_that_was_told_when_to_come_does_not_come_sooner() -> None:
    bucket = Bucket(2000, up_s=3.0, retry_after_s=3.0)

    ended_s = run_in_virtual_time(_herd(bucket), debug=False)

    assert [time for time in bucket.times if 0 < time < 3] == []
    assert ended_s < 3 + 4
