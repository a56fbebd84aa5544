"""What is tried again, how often, and what is said about it."""

from __future__ import annotations

import pytest

from asyncio_loader.errors import AccessDenied, ConnectionLost, FetchError, ObjectChanged, ServerFault, Throttled
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.retry import retry_calls
from asyncio_loader.testing import run_in_virtual_time

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
