from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.failures import FailureLog, FailureRules
from asyncio_loader.datasets.quarantine import read_quarantine
from asyncio_loader.datasets.tally import SharedTally
from asyncio_loader.errors import ConfigError, ObjectNotFound, TooManyFailures
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Failed, ObjectRef


def failed(n: int = 0) -> Failed:
    return Failed(ObjectRef(f"m://{n}"), ObjectNotFound(f"m://{n}: no such object"), position=n, index=n)


def log(max_failures: int | float = 0.01, quarantine: str | None = None, **options: Any) -> FailureLog:
    return FailureLog(FailureRules(max_failures, quarantine), **{"on_error": "replace", "epoch": 3, **options})


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("value", [0, 1, 10**9, 0.01, 0.999])
def test_a_budget_is_a_count_or_a_share(value: int | float) -> None:
    assert FailureRules(value).max_failures == value


@pytest.mark.parametrize("value", [-1, 0.0, 1.0, 1.5, float("nan"), True, None, "1%"])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="max_failures must be a number of samples"):
        FailureRules(value)


def test_a_count_is_the_count_and_a_share_grows_with_what_was_seen_from_ten_on() -> None:
    assert [FailureRules(3).allowed(seen) for seen in (1, 10**6)] == [3, 3]
    assert [FailureRules(0.01).allowed(seen) for seen in (1, 1000, 1099, 1100, 10**6)] == [10, 10, 10, 11, 10_000]


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_the_first_failure_beyond_the_budget_ends_it(budget: int) -> None:
    failures = log(budget)
    for n in range(budget):
        failures.note(failed(n), seen=n + 1)

    with pytest.raises(TooManyFailures) as caught:
        failures.note(failed(budget), seen=100)
    assert (caught.value.failures, caught.value.allowed) == (budget + 1, budget)
    assert caught.value.keys == tuple(f"m://{n}" for n in range(budget + 1))[-5:]
    assert isinstance(caught.value.__cause__, ObjectNotFound)


def test_the_message_alone_names_count_budget_keys_and_file(tmp_path: Path) -> None:
    path = str(tmp_path / "q.jsonl")
    failures = log(1, path)
    failures.note(failed(4), seen=5)

    with pytest.raises(TooManyFailures) as caught:
        failures.note(failed(8), seen=9)
    assert str(caught.value) == (
        "epoch 3: 2 of 9 samples failed, and max_failures=1 allows 1; the last ones: m://4 (ObjectNotFound); "
        f"m://8 (ObjectNotFound); the very last because of: m://8: no such object; all of them: {path}"
    )


def test_a_share_is_of_what_was_seen() -> None:
    failures = log(0.1)
    for n in range(10):
        failures.note(failed(n), seen=n + 1)
    failures.note(failed(), seen=110)

    with pytest.raises(TooManyFailures, match=r"12 of 119 samples failed, and max_failures=0\.1 allows 11"):
        failures.note(failed(), seen=119)


def test_nothing_is_counted_where_every_failure_is_raised_anyway(tmp_path: Path) -> None:
    path = str(tmp_path / "q.jsonl")
    failures = log(0, path, on_error="raise")
    failures.note(failed(), seen=1)

    assert [entry.key for entry in read_quarantine(path)] == ["m://0"]


def test_the_summary_says_how_many_which_and_where(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    path = str(tmp_path / "q.jsonl")
    failures = log(10, path, on_error="skip")
    for n in range(7):
        failures.note(failed(n), seen=2 * n + 1)
    failures.end(seen=20)
    failures.close()

    named = ", ".join(f"m://{n} (ObjectNotFound)" for n in range(5))
    assert warnings(caplog) == [
        f"epoch 3: 7 of 20 samples failed and were left out: {named} and 2 more; all of them: {path}"
    ]


def test_a_failure_that_ends_the_iteration_has_been_seen(caplog: pytest.LogCaptureFixture) -> None:
    failures = log(on_error="skip")
    failures.note(failed(), seen=1)
    failures.end(seen=0)

    assert warnings(caplog) == ["epoch 3: 1 of 1 samples failed and were left out: m://0 (ObjectNotFound)"]


def test_ranks_and_workers_are_named(caplog: pytest.LogCaptureFixture) -> None:
    failures = log(shard=Shard(2, 1, 4))
    failures.note(failed(), seen=1)
    failures.close()

    assert warnings(caplog) == [
        "epoch 3, rank 2, worker 1: 1 of 1 samples failed and were replaced by others: m://0 (ObjectNotFound)"
    ]


def test_no_failure_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    log().end(seen=20)

    assert warnings(caplog) == []


def test_what_was_raised_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    failures = log(0)
    with pytest.raises(TooManyFailures):
        failures.note(failed(), seen=1)
    failures.close()

    assert warnings(caplog) == []


def test_workers_share_the_budget() -> None:
    tally = SharedTally()
    first, second = (log(2, shard=Shard(0, worker, 2), tally=tally) for worker in range(2))
    first.note(failed(0), seen=1)
    second.note(failed(1), seen=1)

    with pytest.raises(TooManyFailures, match="3 of 4 samples failed"):
        first.note(failed(2), seen=2)


def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    failures = log(10, str(tmp_path / "file" / "q.jsonl"))
    for n in range(3):
        failures.note(failed(n), seen=n + 1)

    (said,) = warnings(caplog)
    assert said.startswith(f"quarantine file {tmp_path}/file/q.jsonl: ")
