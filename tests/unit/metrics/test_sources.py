from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Loader, LoaderStats
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics.sources import Reading, Sources, as_mapping, rank_label


def make_dataset(count: int = 3) -> AsyncIterableDataset:
    return AsyncIterableDataset([__file__] * count)


def test_the_figures_are_those_of_now() -> None:
    dataset = make_dataset()
    sources = Sources()
    sources.add("train", dataset)
    before = list(sources.read())
    list(dataset)

    (after,) = sources.read()

    assert before == [Reading("train", "main", LoaderStats())]
    assert (after.stats.samples, after.stats.bytes_fetched) == (3, 3 * Path(__file__).stat().st_size)


def test_a_loader_stays_after_its_close_and_goes_with_its_last_reference() -> None:
    sources = Sources()
    with Loader(make_dataset(), 2) as loader:
        list(loader)
        sources.add("val", loader)
    assert [(reading.loader, reading.stats.samples) for reading in sources.read()] == [("val", 3)]

    del loader
    gc.collect()

    assert list(sources.read()) == []


def test_a_dataloader_is_read_for_as_long_as_its_dataset_exists() -> None:
    sources = Sources()
    loader: DataLoader[Any] = DataLoader(make_dataset())
    sources.add("train", loader)
    assert [reading.loader for reading in sources.read()] == ["train"]

    del loader
    gc.collect()

    assert list(sources.read()) == []


def test_a_name_is_for_one_that_is_alive() -> None:
    sources = Sources()
    first, second = make_dataset(), make_dataset()
    sources.add("train", first)
    sources.add("train", first)
    with pytest.raises(ConfigError, match="metrics of 'train': another loader has that name"):
        sources.add("train", second)

    del first
    gc.collect()
    sources.add("train", second)

    assert [reading.loader for reading in sources.read()] == ["train"]


def test_what_is_removed_is_not_read() -> None:
    sources, dataset = Sources(), make_dataset()
    sources.add("train", dataset)
    sources.remove("train")
    sources.remove("train")

    assert list(sources.read()) == []


def test_what_is_no_loader_is_refused() -> None:
    loader: DataLoader[Any] = DataLoader([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"metrics of 'train': takes a Loader, .* not list"):
        Sources().add("train", loader)
    with pytest.raises(ConfigError, match="the name of a loader in metrics must be a text, not 3"):
        Sources().add(3, make_dataset())  # type: ignore[arg-type]


def test_processes_of_one_number_add_up_but_a_limit_is_that_of_the_latest() -> None:
    dataset, sources = make_dataset(), Sources()
    sources.add("train", dataset)
    for gets, level in ((10, 64), (5, 32)):
        counters = dataset.share_counters().claim(1)
        counters.gets, counters.level, counters.peak_window_bytes = gets, level, 100 * level
    dataset.share_counters().claim(0).gets = 2

    assert list(sources.read()) == [
        Reading("train", "main", LoaderStats()),
        Reading("train", "1", LoaderStats(gets=15, level=32, peak_window_bytes=3200)),
        Reading("train", "0", LoaderStats(gets=2)),
    ]


def test_one_loader_needs_no_name() -> None:
    dataset = make_dataset()

    assert [as_mapping(None), as_mapping(dataset), as_mapping({"val": dataset})] == [
        {},
        {"train": dataset},
        {"val": dataset},
    ]


@pytest.mark.parametrize(("rank", "label"), [(None, 0), ("3", 3), ("", 0), ("three", 0)])
def test_the_rank_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, rank: str | None, label: int) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)

    assert rank_label() == label


def test_the_rank_is_that_of_the_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.datasets.distributed import RankAndWorld

    monkeypatch.setenv("RANK", "7")
    monkeypatch.setattr("asyncio_loader.metrics.sources.rank_and_world", lambda: RankAndWorld(2, 4))

    assert rank_label() == 2
