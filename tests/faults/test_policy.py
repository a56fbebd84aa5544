"""What cannot be had, and what is poison: every policy, with threads, workers and ranks, to the last sample."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, S3Options
from asyncio_loader.datasets.quarantine import read_quarantine
from asyncio_loader.errors import DecodeError, ObjectNotFound, TooManyFailures
from asyncio_loader.order.substitute import substitute_position
from asyncio_loader.testing import Fault, S3Simulator, synthetic_jpegs
from asyncio_loader.transforms.decoding import decode_image

COUNT, BATCH, SEED, EPOCH = 48, 4, 5, 2
GONE = (3, 11, 30)
CUT = (7, 8, 25, 47)
FAILING = {**dict.fromkeys(GONE, "ObjectNotFound"), **dict.fromkeys(CUT, "DecodeError")}
# A GET that is answered 404 is not made again; what cannot be decoded is.
ATTEMPTS = {"ObjectNotFound": 1, "DecodeError": 2}

SKIPPED_OR_REPLACED = pytest.mark.parametrize("policy", ["skip", "replace"])


class Seen(NamedTuple):
    """A sample, as it came."""

    position: int
    index: int
    is_padding: bool


def look(fetched: Fetched) -> Seen:
    decode_image(fetched.data, key=fetched.ref.uri)
    return Seen(fetched.position, fetched.index, fetched.is_padding)


@pytest.fixture(scope="module")
def simulator() -> Iterator[S3Simulator]:
    images = enumerate(synthetic_jpegs(COUNT, mean_bytes=2500, size=(64, 48), distinct=2))
    bodies = {f"{n:02}.jpg": image[:200] if n in CUT else image for n, image in images}
    with S3Simulator(bodies, faults=[Fault("status", status=404, key=f"{n:02}.jpg") for n in GONE]) as simulator:
        yield simulator


@pytest.fixture
def storage(simulator: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> S3Options:
    for name, value in simulator.environ.items():
        monkeypatch.setenv(name, value)
    return S3Options(endpoint_url=simulator.endpoint_url)


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    return tmp_path / "quarantine.jsonl"


def uri(index: int) -> str:
    return f"s3://bucket/{index:02}.jpg"


def open_dataset(storage: S3Options, **options: Any) -> AsyncIterableDataset:
    refs = [uri(index) for index in range(COUNT)]
    given = {"transform": look, "shuffle": True, "seed": SEED, "batch_size": BATCH, **options}
    dataset = AsyncIterableDataset(refs, storage=storage, **given)
    dataset.set_epoch(EPOCH)
    return dataset


def load(dataset: AsyncIterableDataset, *, workers: int = 0, threads: int = 3) -> list[Seen]:
    if workers:
        loader = DataLoader(dataset, BATCH, num_workers=workers, collate_fn=list, multiprocessing_context="fork")
        batches = iter(loader)
        try:
            return [sample for batch in batches for sample in batch]
        finally:
            # Collected with an error's traceback, it would wait for each worker for five seconds: torch's own way.
            batches._shutdown_workers()  # type: ignore[attr-defined]
    with Loader(dataset, BATCH, threads=threads) as steps:
        return [sample for batch in steps for sample in batch]


def whole_order(storage: S3Options) -> list[int]:
    plan = open_dataset(storage).plan(BATCH)
    return [plan.index_at(position) for position in range(COUNT)]


def stand_in(order: list[int], position: int) -> int:
    """Which sample stands in at a position: arithmetic, done here once more."""
    for attempt in range(1, 11):
        place = substitute_position(COUNT, seed=SEED, epoch=EPOCH, position=position, attempt=attempt)
        if order[place] not in FAILING:
            return order[place]
    raise AssertionError("no substitute")


def expected(storage: S3Options, policy: str, *, fills: bool = True) -> list[Seen]:
    order = whole_order(storage)
    samples = []
    for position, index in enumerate(order):
        if index not in FAILING:
            samples.append(Seen(position, index, False))
        elif fills:
            samples.append(Seen(position, stand_in(order, position), policy == "skip"))
    return samples


def check_quarantine(path: Path, order: list[int], failing: set[int] | None = None) -> None:
    """Each sample that failed is there once, with all that is known of it."""
    wanted = set(FAILING) if failing is None else failing
    lines = {
        (line.key, line.index, line.epoch, order[line.position], line.error, line.attempts)
        for line in read_quarantine(path)
    }

    assert lines == {(uri(n), n, EPOCH, n, FAILING[n], ATTEMPTS[FAILING[n]]) for n in wanted}
    assert len(read_quarantine(path)) == len(wanted)
    for line in read_quarantine(path):
        assert line.key in line.message


@pytest.mark.parametrize("threads", [1, 3])
@SKIPPED_OR_REPLACED
def test_a_loader_loses_what_failed_and_nothing_else(
    storage: S3Options, quarantine: Path, policy: Any, threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = open_dataset(storage, on_error=policy, quarantine=quarantine)

    assert load(dataset, threads=threads) == expected(storage, policy, fills=policy == "replace")
    check_quarantine(quarantine, whole_order(storage))
    assert dataset.stats().failed == len(FAILING)
    assert dataset.stats().refetches >= len(CUT)
    (summary,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    done = "left out" if policy == "skip" else "replaced by others"
    assert summary.startswith(f"epoch 2: 7 of 48 samples failed and were {done}: s3://bucket/")
    assert summary.endswith(f" and 2 more; all of them: {quarantine}")


@SKIPPED_OR_REPLACED
def test_workers_make_the_same_of_it(storage: S3Options, quarantine: Path, policy: Any) -> None:
    samples = load(open_dataset(storage, on_error=policy, quarantine=quarantine), workers=2)
    wanted = expected(storage, policy, fills=policy == "replace")

    # Where samples are left out, batches shift among the workers.
    assert samples == wanted if policy == "replace" else sorted(samples) == sorted(wanted)
    check_quarantine(quarantine, whole_order(storage))


@pytest.mark.parametrize("workers", [0, 2])
@SKIPPED_OR_REPLACED
def test_ranks_have_equal_steps_and_the_same_substitutes(
    storage: S3Options, quarantine: Path, policy: Any, workers: int
) -> None:
    shares = []
    for rank in range(2):
        dataset = open_dataset(storage, on_error=policy, quarantine=quarantine)
        dataset.set_rank(rank, 2)
        shares.append(load(dataset, workers=workers))

    assert [len(samples) for samples in shares] == [COUNT // 2, COUNT // 2]
    assert sorted([*shares[0], *shares[1]]) == expected(storage, policy)
    check_quarantine(quarantine, whole_order(storage))


def test_what_only_came_corrupt_is_not_lost(storage: S3Options, quarantine: Path) -> None:
    """Its first byte is wrong, once: found by its checksum, or else by who decodes it."""
    images = enumerate(synthetic_jpegs(COUNT, mean_bytes=2500, size=(64, 48), distinct=2))
    faults = [Fault("corrupt", key=f"{n:02}.jpg", times=1, after_bytes=0) for n in (*GONE, *CUT)]
    with S3Simulator({f"{n:02}.jpg": image for n, image in images}, faults=faults) as simulator:
        elsewhere = S3Options(endpoint_url=simulator.endpoint_url)
        # Nothing of a next epoch, whose GETs might meet the faults instead.
        once = {"epochs": EPOCH + 1, "max_failures": 0}
        dataset = open_dataset(elsewhere, on_error="replace", quarantine=quarantine, **once)
        samples = load(dataset)

    assert samples == [Seen(position, index, False) for position, index in enumerate(whole_order(storage))]
    assert not quarantine.exists()
    assert dataset.stats().refetches + dataset.stats().retries >= len(FAILING)


@pytest.mark.timeout(60)
def test_refetches_of_everything_at_once_get_through_the_smallest_window(storage: S3Options) -> None:
    doubted: set[int] = set()

    def doubt(fetched: Fetched) -> int:
        if fetched.index not in doubted:
            doubted.add(fetched.index)
            raise DecodeError(f"{fetched.ref.uri}: seen for the first time")
        return fetched.index

    tiny = FetchOptions(max_in_flight=1, window_bytes=1, window_items=1)
    refs = [uri(index) for index in range(COUNT) if index not in GONE]
    dataset = AsyncIterableDataset(refs, transform=doubt, storage=storage, options=tiny)
    with Loader(dataset, len(refs), threads=4) as loader:
        assert list(loader) == [list(range(len(refs)))]
    assert dataset.stats().refetches == len(refs)


def test_raise_names_the_first_and_writes_it_down(storage: S3Options, quarantine: Path) -> None:
    order = whole_order(storage)
    first = next(index for index in order if index in FAILING)
    kind = {"ObjectNotFound": ObjectNotFound, "DecodeError": DecodeError}[FAILING[first]]

    with pytest.raises(kind, match=re.escape(uri(first))):
        load(open_dataset(storage, quarantine=quarantine))
    check_quarantine(quarantine, order, {first})


@pytest.mark.parametrize("workers", [0, 2])
@SKIPPED_OR_REPLACED
def test_a_budget_that_is_just_enough_is_enough(storage: S3Options, policy: Any, workers: int) -> None:
    dataset = open_dataset(storage, on_error=policy, max_failures=len(FAILING))

    assert len(load(dataset, workers=workers)) == COUNT - (len(FAILING) if policy == "skip" else 0)


@SKIPPED_OR_REPLACED
def test_one_more_than_the_budget_ends_it_at_that_very_sample(
    storage: S3Options, quarantine: Path, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    order = whole_order(storage)
    failing = [index for index in order if index in FAILING]
    stream = iter(open_dataset(storage, on_error=policy, max_failures=4, quarantine=quarantine))
    samples = []
    with pytest.raises(TooManyFailures) as caught:
        samples.extend(iter(stream.__next__, None))

    position = order.index(failing[4])
    assert samples == [
        seen for seen in expected(storage, policy, fills=policy == "replace") if seen.position < position
    ]
    assert (caught.value.failures, caught.value.allowed) == (5, 4)
    assert caught.value.keys == tuple(uri(index) for index in failing[:5])
    assert f"5 of {position + 1} samples failed, and max_failures=4 allows 4" in str(caught.value)
    check_quarantine(quarantine, order, set(failing[:5]))
    assert not caplog.records


def test_workers_have_one_budget_together(storage: S3Options, quarantine: Path) -> None:
    dataset = open_dataset(storage, on_error="replace", max_failures=len(FAILING) - 1, quarantine=quarantine)

    with pytest.raises(TooManyFailures, match=r"7 of .* max_failures=6 allows 6"):
        load(dataset, workers=2)
    check_quarantine(quarantine, whole_order(storage))


def test_every_rank_has_a_budget_of_its_own(storage: S3Options) -> None:
    order = whole_order(storage)
    counts = []
    for rank in range(2):
        dataset = open_dataset(storage, on_error="replace")
        dataset.set_rank(rank, 2)
        load(dataset)
        counts.append(dataset.stats().failed)

    assert sum(counts) == len(FAILING)
    assert counts[0] == sum(order[place] in FAILING for place in range(COUNT) if place // BATCH % 2 == 0)


def test_the_next_epoch_has_a_new_budget(storage: S3Options, quarantine: Path) -> None:
    dataset = open_dataset(storage, on_error="replace", max_failures=len(FAILING), quarantine=quarantine, epochs=4)
    with Loader(dataset, BATCH, threads=2) as loader:
        for epoch in (EPOCH, EPOCH + 1):
            loader.set_epoch(epoch)
            assert sum(len(batch) for batch in loader) == COUNT

    assert sorted(line.epoch for line in read_quarantine(quarantine)) == [EPOCH] * 7 + [EPOCH + 1] * 7


def test_no_secret_gets_into_the_file_or_the_log(
    storage: S3Options, quarantine: Path, simulator: S3Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="asyncio_loader"):
        load(open_dataset(storage, on_error="replace", quarantine=quarantine))

    secrets = [value for name, value in simulator.environ.items() if "KEY" in name]
    assert len(secrets) >= 2
    for text in (quarantine.read_text(), caplog.text):
        assert not [secret for secret in secrets if secret in text]
