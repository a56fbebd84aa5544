from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Metric, Sum
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Loader, __version__
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics import instrument
from asyncio_loader.metrics.names import METRICS

BYTES = 2800


class Meters:
    """A provider, and what it would export."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        assert {(scope.scope.name, scope.scope.version) for scope in scopes} <= {("asyncio_loader", __version__)}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """(loader, rank, worker) → value."""
        metric = self.metrics().get(name)
        points: Any = metric.data.data_points if metric else ()
        keys = [f"asyncio_loader.{label}" for label in ("loader", "rank", "worker")]
        return {tuple(point.attributes[key] for key in keys): point.value for point in points}


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    yield made
    made.provider.shutdown()


def test_after_an_epoch_the_figures_are_what_was_read(dataset: AsyncIterableDataset, meters: Meters) -> None:
    with Loader(dataset, 2, threads=1) as loader:
        instrument(loader, meters.provider)
        list(loader)
        metrics = meters.metrics()
        stats = loader.stats()

    assert set(metrics) == {metric.name for metric in METRICS}
    for metric in METRICS:
        found = metrics[metric.name]
        assert isinstance(found.data, Sum if metric.is_count else Gauge)
        (point,) = found.data.data_points
        assert (found.unit, point.value) == (metric.unit, getattr(stats, metric.field))
        assert not isinstance(found.data, Sum) or found.data.is_monotonic
        assert found.description
        assert dict(point.attributes or {}) == {
            "asyncio_loader.loader": "train",
            "asyncio_loader.rank": 0,
            "asyncio_loader.worker": "main",
        }
    assert stats.bytes_fetched == BYTES


def test_workers_have_an_attribute(dataset: AsyncIterableDataset, meters: Meters) -> None:
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=2, num_workers=2, collate_fn=list, multiprocessing_context="fork"
    )
    instrument({"val": loader}, meters.provider)
    list(loader)

    assert meters.values("asyncio_loader.samples") == {
        ("val", 0, "main"): 0,
        ("val", 0, "0"): 4,
        ("val", 0, "1"): 3,
    }


def test_several_loaders_share_the_instruments(
    dataset: AsyncIterableDataset, meters: Meters, caplog: pytest.LogCaptureFixture
) -> None:
    other = AsyncIterableDataset([__file__])
    with caplog.at_level(logging.WARNING):
        instrument(dataset, meters.provider, attributes={"job": "coco", "asyncio_loader.rank": 3})
        instrument({}, meters.provider).add("val", other)
        list(other)
        points: Any = meters.metrics()["asyncio_loader.samples"].data.data_points

    # The SDK warns of instruments that are made twice.
    assert caplog.text == ""
    assert [(dict(point.attributes), point.value) for point in points] == [
        (
            {
                "asyncio_loader.rank": 3,
                "job": "coco",
                "asyncio_loader.loader": "train",
                "asyncio_loader.worker": "main",
            },
            0,
        ),
        ({"asyncio_loader.rank": 0, "asyncio_loader.loader": "val", "asyncio_loader.worker": "main"}, 1),
    ]


def test_a_name_that_is_taken_is_refused_and_nothing_of_the_call_stays(
    dataset: AsyncIterableDataset, meters: Meters
) -> None:
    other = AsyncIterableDataset([__file__])
    instrument({"val": dataset}, meters.provider)
    with pytest.raises(ConfigError, match="metrics of 'val': another loader has that name"):
        instrument({"train": other, "val": other}, meters.provider)

    assert list(meters.values("asyncio_loader.gets")) == [("val", 0, "main")]


def test_close_and_collection_end_it(dataset: AsyncIterableDataset, meters: Meters) -> None:
    loader = Loader(dataset, 2)
    with instrument({"train": loader, "val": dataset}, meters.provider) as instrumentation:
        assert len(meters.values("asyncio_loader.gets")) == 2
        del loader
        gc.collect()
        assert list(meters.values("asyncio_loader.gets")) == [("val", 0, "main")]
    instrumentation.close()

    assert meters.values("asyncio_loader.gets") == {}


def test_close_leaves_a_name_to_another_loader_that_has_it_since(dataset: AsyncIterableDataset, meters: Meters) -> None:
    loader = Loader(dataset, 2)
    first = instrument(loader, meters.provider)
    del loader
    gc.collect()
    instrument(dataset, meters.provider)
    first.close()

    assert list(meters.values("asyncio_loader.gets")) == [("train", 0, "main")]


def test_a_provider_that_is_gone_is_forgotten(dataset: AsyncIterableDataset) -> None:
    from asyncio_loader.metrics.opentelemetry import _by_provider

    before = len(_by_provider)
    meters = Meters()
    instrument(dataset, meters.provider)
    assert len(_by_provider) == before + 1
    meters.provider.shutdown()
    del meters
    gc.collect()

    assert len(_by_provider) == before


def test_without_a_provider_the_global_one_is_taken(
    dataset: AsyncIterableDataset, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncio_loader.metrics.opentelemetry.get_meter_provider", lambda: meters.provider)
    instrument(dataset)

    assert list(meters.values("asyncio_loader.gets")) == [("train", 0, "main")]


@pytest.mark.parametrize("attributes", [{"asyncio_loader.worker": "a"}, {"": "a"}, {"a": None}, {"a": [1]}])
def test_wrong_attributes(dataset: AsyncIterableDataset, meters: Meters, attributes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^attributes: "):
        instrument(dataset, meters.provider, attributes=attributes)
