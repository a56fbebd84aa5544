from __future__ import annotations

import dataclasses
import os
from collections import deque
from typing import Any

import pytest

from asyncio_loader.datasets.failures import FailureRules
from asyncio_loader.datasets.recipe import Made, Recipe
from asyncio_loader.datasets.stream import Part, Progress, SampleStream
from asyncio_loader.errors import LoaderError, ObjectNotFound, TooManyFailures
from asyncio_loader.options import OnError
from asyncio_loader.order.ordering import Grouped
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef
from asyncio_loader.stats import Counters

ALL = Shard()


def part(length: int = 10, *, shard: Shard = ALL, skip: int = 0, on_error: OnError = "raise", **options: Any) -> Part:
    recipe = Recipe(
        refs=["m://0"] * length, transform=None, on_error=on_error, on_void="replace", seed=0, order=range(length)
    )
    plan = EpochPlan(**{"order": range(length), "batch_size": 2, **options})
    return Part(plan, shard, skip, recipe, identity=())


def progress_at(passed: int, *arguments: Any, **options: Any) -> Progress:
    progress = Progress(part(*arguments, **options))
    progress.passed = passed
    return progress


def test_it_begins_after_what_was_consumed_before() -> None:
    assert Progress(part(skip=3)).passed == 3


@pytest.mark.parametrize("passed", range(11))
def test_without_workers_and_ranks_every_sample_is_a_position(passed: int) -> None:
    progress = progress_at(passed)

    assert progress.consumed == passed
    assert progress.next_step == passed // 2
    assert progress.is_over == (passed == 10)


def test_it_counts_from_where_the_plan_begins() -> None:
    assert [progress_at(n, start=3).consumed for n in range(8)] == [3, 4, 5, 6, 7, 8, 9, 10]


def test_within_a_step_of_several_ranks_nothing_of_it_is_consumed() -> None:
    consumed = [progress_at(n, 20, ranks=3, shard=Shard(1)).consumed for n in range(8)]

    # Two whole steps of 3 × 2, then one of 3 × 3 positions, one of them padding.
    assert consumed == [0, 0, 6, 6, 12, 12, 18, 20]


def test_a_step_of_a_worker_is_followed_by_those_of_the_others() -> None:
    steps = [progress_at(n, 20, shard=Shard(0, 1, 4)).next_step for n in range(7)]

    # Worker 1 of 4 does the steps 1, 5 and 9; after the last one it holds nobody back.
    assert steps == [1, 1, 5, 5, 9, 9, 10]


def test_a_worker_without_a_step_is_done_from_the_beginning() -> None:
    progress = Progress(part(4, shard=Shard(0, 2, 3)))

    assert progress.is_over
    assert progress.next_step == 2
    assert progress.consumed == 4


def test_batches_of_groups_are_consumed_as_a_whole() -> None:
    order = Grouped([0, 1] * 5, 2, shuffle=False).of_epoch(0)
    consumed = [progress_at(n, order=order, unit=2).consumed for n in range(11)]

    assert consumed == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10]


def test_an_epoch_is_over_where_the_last_step_is_dropped() -> None:
    progress = progress_at(10, 11, drop_last=True)

    assert progress.is_over
    assert progress.consumed == 11


class ScriptedSource:
    """Gives what it is told to, and remembers what it was asked."""

    def __init__(self, *results: Made | Failed | BaseException | None) -> None:
        self.results = deque(results)
        self.fetched: list[str] = []
        self.is_closed = False

    def take(self, wanted: int = 1) -> Made | Failed | None:
        result = self.results.popleft()
        if isinstance(result, BaseException):
            raise result
        return result

    @property
    def is_ready(self) -> bool:
        return bool(self.results)

    def refetch(self, uri: str) -> tuple[Buffer, int]:
        raise AssertionError(f"{uri} was fetched a second time")

    def fetch(self, uri: str) -> tuple[Buffer, int]:
        self.fetched.append(uri)
        return b"substitute", 1


NOBODY = ScriptedSource()


class Run:
    """A stream, and what it said about its end."""

    def __init__(self, source: ScriptedSource, of: Part) -> None:
        self.said: list[str] = []
        self.counters = Counters()
        self.stream = SampleStream(
            source,  # type: ignore[arg-type]
            Progress(of),
            self.counters,
            failures=of.open_log(),
            on_end=lambda: self.said.append("end"),
            on_close=lambda: self.said.append("close"),
        )


FAILED = Failed(ObjectRef("m://1"), ObjectNotFound("m://1: no such object"), position=1, index=1)


def test_samples_come_as_the_source_gives_them_and_as_many_as_the_part_has() -> None:
    run = Run(ScriptedSource(Made("a"), Made("b"), Made("of the next epoch")), part(2))

    assert list(run.stream) == ["a", "b"]
    assert run.said == ["end"]
    assert run.stream.progress.is_over
    assert run.counters.samples == 2


def test_the_end_is_reached_when_more_is_asked_for_than_there_is() -> None:
    run = Run(ScriptedSource(Made("a")), part(1))
    next(run.stream)
    assert run.said == []

    for _ in range(2):
        with pytest.raises(StopIteration):
            next(run.stream)
    assert run.said == ["end"]


def test_nothing_is_taken_of_a_part_that_is_consumed_already() -> None:
    assert list(Run(ScriptedSource(), part(4, skip=4)).stream) == []
    assert list(Run(ScriptedSource(), part(4, start=4)).stream) == []


def test_a_failed_sample_is_raised_in_its_place_and_closes_the_stream() -> None:
    run = Run(ScriptedSource(Made("a"), FAILED, Made("c")), part(3))
    next(run.stream)

    with pytest.raises(ObjectNotFound, match="m://1"):
        next(run.stream)
    assert run.said == ["close"]
    assert list(run.stream) == []
    # What failed is not consumed.
    assert run.stream.progress.passed == 1
    assert run.counters.failed == 1


def test_a_sample_that_is_left_out_is_passed_all_the_same() -> None:
    run = Run(ScriptedSource(Made("a"), FAILED, Made("c")), part(3, on_error="skip"))

    assert list(run.stream) == ["a", "c"]
    assert run.stream.progress.passed == 3
    assert (run.counters.samples, run.counters.failed) == (2, 1)


def test_the_end_of_a_part_is_summed_up_at_its_last_sample(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(ScriptedSource(FAILED, Made("b")), part(2, on_error="skip"))
    assert next(run.stream) == "b"

    assert [record.getMessage() for record in caplog.records] == [
        "epoch 0: 1 of 2 samples failed and were left out: m://1 (ObjectNotFound)"
    ]
    run.stream.close()
    assert len(caplog.records) == 1


def test_what_was_gone_through_is_summed_up_when_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(ScriptedSource(FAILED, Made("b"), Made("c")), part(5, on_error="skip"))
    assert [next(run.stream), next(run.stream)] == ["b", "c"]
    assert not caplog.records
    run.stream.close()

    assert [record.getMessage() for record in caplog.records] == [
        "epoch 0: 1 of 3 samples failed and were left out: m://1 (ObjectNotFound)"
    ]


def test_one_failure_too_many_is_raised_in_its_place_and_closes_the_stream() -> None:
    few = dataclasses.replace(part(3, on_error="skip"), rules=FailureRules(1))
    run = Run(ScriptedSource(FAILED, Made("b"), FAILED), few)
    assert next(run.stream) == "b"

    with pytest.raises(TooManyFailures, match="2 of 3 samples failed"):
        next(run.stream)
    assert run.said == ["close"]
    assert run.counters.failed == 2


def test_a_budget_counts_from_where_the_iteration_begins() -> None:
    few = dataclasses.replace(part(6, skip=3, on_error="skip"), rules=FailureRules(0))
    run = Run(ScriptedSource(Made("a"), FAILED), few)
    next(run.stream)

    with pytest.raises(TooManyFailures, match="1 of 2 samples failed"):
        next(run.stream)


def test_a_sample_that_the_pipeline_did_not_want_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    unwanted = part(1).recipe
    picky = dataclasses.replace(unwanted, transform=lambda fetched: None)
    run = Run(ScriptedSource(picky.make(Fetched(ObjectRef("m://0"), b""), NOBODY)), part(1, on_error="replace"))

    assert len(list(run.stream)) == 1
    assert (run.counters.failed, run.counters.rejected) == (0, 1)
    assert not caplog.records


def test_a_substitute_is_fetched_from_the_source() -> None:
    source = ScriptedSource(FAILED)
    run = Run(source, part(1, on_error="replace"))

    assert [sample.data for sample in run.stream] == [b"substitute"]
    assert source.fetched == ["m://0"]


def test_what_breaks_the_source_closes_the_stream() -> None:
    run = Run(ScriptedSource(KeyboardInterrupt()), part(1))

    with pytest.raises(KeyboardInterrupt):
        next(run.stream)
    assert run.said == ["close"]


def test_a_source_that_was_closed_ends_the_stream_without_an_end() -> None:
    source = ScriptedSource(Made("a"), None)
    source.is_closed = True
    run = Run(source, part(3))

    assert list(run.stream) == ["a"]
    assert run.said == []
    assert not run.stream.progress.is_over


def test_a_source_that_ends_before_its_time_closes_the_stream() -> None:
    run = Run(ScriptedSource(Made("a"), None), part(3))

    assert next(run.stream) == "a"
    with pytest.raises(LoaderError, match="2 samples of the epoch are missing: what fetches them has ended before"):
        next(run.stream)
    assert run.said == ["close"]


def test_closing_twice_is_as_good_as_once_and_after_the_end_it_is_nothing() -> None:
    run = Run(ScriptedSource(Made("a")), part(1))
    run.stream.close()
    run.stream.close()
    assert run.said == ["close"]
    assert list(run.stream) == []

    ended = Run(ScriptedSource(Made("a")), part(1))
    list(ended.stream)
    ended.stream.close()
    assert ended.said == ["end"]


def test_another_process_is_refused_and_leaves_the_stream_as_it_is() -> None:
    run = Run(ScriptedSource(Made("a")), part(1))
    child = os.fork()
    if child == 0:
        try:
            next(run.stream)
        except LoaderError as error:
            os._exit(7 if "call iter() on the dataset or Loader in the process" in str(error) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert next(run.stream) == "a"


def test_time_counts_from_the_first_sample_that_was_asked_for_on_top_of_earlier_streams() -> None:
    run = Run(ScriptedSource(Made("a")), part(1))
    run.counters.elapsed_s = 100.0
    stream = SampleStream(
        ScriptedSource(Made("a")),  # type: ignore[arg-type]
        Progress(part(1)),
        run.counters,
        failures=part(1).open_log(),
        on_end=lambda: None,
        on_close=lambda: None,
    )
    assert run.counters.elapsed_s == 100.0

    list(stream)

    assert 100.0 < run.counters.elapsed_s < 160.0


def test_it_is_ready_where_the_source_is_or_nothing_is_left_to_wait_for() -> None:
    run = Run(ScriptedSource(Made("a")), part(2))
    assert run.stream.is_ready
    next(run.stream)
    assert not run.stream.is_ready
    assert run.stream.consumed == 1

    run.stream.close()
    assert run.stream.is_ready

    run = Run(ScriptedSource(Made("a")), part(1))
    next(run.stream)
    # Of the next epoch there may be nothing yet.
    assert run.stream.is_ready
    assert list(run.stream) == []
