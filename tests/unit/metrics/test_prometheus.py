from __future__ import annotations

import gc
import os
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics import PrometheusExporter
from asyncio_loader.metrics.names import METRICS

BYTES = 2800


def fetch(url: str | None, accept: str = "*/*") -> str:
    assert url is not None
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def scrape(exporter: PrometheusExporter) -> dict[str, dict[tuple[str, str, str], float]]:
    """Metric → (loader, rank, worker) → value."""
    found: dict[str, dict[tuple[str, str, str], float]] = {}
    for family in text_string_to_metric_families(fetch(exporter.url)):
        for sample in family.samples:
            labels = sample.labels
            found.setdefault(sample.name, {})[labels["loader"], labels["rank"], labels["worker"]] = sample.value
    return found


def test_after_an_epoch_the_counts_are_what_was_read(dataset: AsyncIterableDataset) -> None:
    with Loader(dataset, 2, threads=1) as loader, PrometheusExporter(loader) as exporter:
        before = scrape(exporter)
        list(loader)
        after = scrape(exporter)
        stats = loader.stats()

    series = ("train", "0", "main")
    assert set(before) == set(after) == {metric.prometheus for metric in METRICS}
    assert before["asyncio_loader_samples_total"] == {series: 0}
    assert after["asyncio_loader_samples_total"] == after["asyncio_loader_gets_total"] == {series: 7}
    assert after["asyncio_loader_fetched_bytes_total"] == {series: BYTES}
    assert {m.field: after[m.prometheus][series] for m in METRICS} == {
        m.field: getattr(stats, m.field) for m in METRICS
    }


def test_figures_are_read_while_it_loads(dataset: AsyncIterableDataset) -> None:
    with PrometheusExporter(dataset) as exporter:
        seen = [scrape(exporter)["asyncio_loader_samples_total"]["train", "0", "main"] for _ in dataset]

    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_types_and_help_are_there(dataset: AsyncIterableDataset) -> None:
    with PrometheusExporter(dataset) as exporter:
        text = fetch(exporter.url)
        openmetrics = fetch(exporter.url, "application/openmetrics-text; version=1.0.0")

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {(name, family.type) for name, family in families.items()} == {
        (m.prometheus.removesuffix("_total"), "counter" if m.is_count else "gauge") for m in METRICS
    }
    assert families["asyncio_loader_hedges"].documentation.startswith("GETs made because an earlier one was slow.")
    assert {family.name for family in parse_openmetrics(openmetrics)} == set(families)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_are_counted_wherever_they_start_and_after_they_ended(
    dataset: AsyncIterableDataset, start: str
) -> None:
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=2, num_workers=2, collate_fn=list, multiprocessing_context=start
    )
    with PrometheusExporter({"train": loader}) as exporter:
        seen = []
        for _ in range(2 if start == "fork" else 1):
            read = [sample for batch in loader for sample in batch]
            assert len(read) == 7
            seen.append(scrape(exporter))

    for epochs, found in enumerate(seen, start=1):
        # Steps 0 and 2 are worker 0's, 1 and 3 worker 1's; the last one is a sample short.
        assert found["asyncio_loader_samples_total"] == {
            ("train", "0", "main"): 0,
            ("train", "0", "0"): 4 * epochs,
            ("train", "0", "1"): 3 * epochs,
        }
        assert found["asyncio_loader_gets_total"] == found["asyncio_loader_samples_total"]
        assert sum(found["asyncio_loader_fetched_bytes_total"].values()) == BYTES * epochs
        assert found["asyncio_loader_in_flight_limit"]["train", "0", "1"] > 0


def test_persistent_workers_go_on_counting(dataset: AsyncIterableDataset) -> None:
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=2,
        num_workers=2,
        collate_fn=list,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    with PrometheusExporter(loader) as exporter:
        for _ in range(3):
            assert sum(len(batch) for batch in loader) == 7
        found = scrape(exporter)

    assert sum(found["asyncio_loader_samples_total"].values()) == 21


def test_what_the_parent_counted_is_not_counted_again_by_a_forked_worker(dataset: AsyncIterableDataset) -> None:
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=2, num_workers=1, collate_fn=list, multiprocessing_context="fork"
    )
    with PrometheusExporter(dataset) as exporter:
        list(dataset)
        list(loader)
        found = scrape(exporter)

    assert found["asyncio_loader_samples_total"] == {("train", "0", "main"): 7, ("train", "0", "0"): 7}


def test_several_loaders_and_labels(dataset: AsyncIterableDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    other = AsyncIterableDataset([__file__])
    list(other)
    with PrometheusExporter({"train": dataset}, labels={"job": "coco"}) as exporter:
        exporter.add("val", other)
        found = scrape(exporter)
        text = fetch(exporter.url)

    assert found["asyncio_loader_samples_total"] == {("train", "5", "main"): 0, ("val", "5", "main"): 1}
    assert text.count('job="coco"') == 2 * len(METRICS)


def test_the_rank_may_be_said(dataset: AsyncIterableDataset) -> None:
    with PrometheusExporter(dataset, labels={"rank": "12"}) as exporter:
        assert list(scrape(exporter)["asyncio_loader_samples_total"]) == [("train", "12", "main")]


def test_a_loader_that_is_collected_is_gone(dataset: AsyncIterableDataset) -> None:
    loader = Loader(dataset, 2)
    with PrometheusExporter({"train": loader, "val": dataset}) as exporter:
        assert len(scrape(exporter)["asyncio_loader_samples_total"]) == 2
        del loader
        gc.collect()

        assert list(scrape(exporter)["asyncio_loader_samples_total"]) == [("val", "0", "main")]


def test_a_port_in_use_is_one_clear_line(dataset: AsyncIterableDataset) -> None:
    with PrometheusExporter(dataset) as exporter:
        line = rf"port={exporter.port}: in use on 127\.0\.0\.1 already; take another one, or 0 for any that is free"
        with pytest.raises(ConfigError, match=f"^{line}$"):
            PrometheusExporter(dataset, port=exporter.port)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"port": "9400"}, "port"),
        ({"port": None}, "port=None: nobody would see the metrics"),
        ({"addr": "192.0.2.1"}, r"addr='192\.0\.2\.1', port=0: metrics cannot be served there: "),
        ({"addr": "300.1.1.1.x"}, r"addr='300\.1\.1\.1\.x', port=0: metrics cannot be served there: "),
        ({"labels": {"worker": "a"}}, "labels: 'worker' is set for each loader"),
        ({"labels": {"a-b": "c"}}, "labels: 'a-b' is no name of a label"),
        ({"labels": {"a": 1}}, "labels: a must be a text, not 1"),
    ],
)
def test_wrong_arguments(dataset: AsyncIterableDataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrometheusExporter(dataset, **options)


def test_a_registry_of_the_users_without_a_port(dataset: AsyncIterableDataset) -> None:
    registry = CollectorRegistry()
    with PrometheusExporter(dataset, port=None, registry=registry) as exporter:
        assert (exporter.port, exporter.url) == (None, None)
        assert b"asyncio_loader_samples_total{" in generate_latest(registry)
        with pytest.raises(ConfigError, match="registry: another exporter is in it already"):
            PrometheusExporter(dataset, port=None, registry=registry)

    assert generate_latest(registry) == b""


def test_an_exporter_whose_port_is_taken_leaves_the_registry_as_it_was(dataset: AsyncIterableDataset) -> None:
    registry = CollectorRegistry()
    with PrometheusExporter(dataset) as exporter, pytest.raises(ConfigError):
        PrometheusExporter(dataset, port=exporter.port, registry=registry)

    assert generate_latest(registry) == b""


def test_close_gives_the_port_up(dataset: AsyncIterableDataset) -> None:
    exporter = PrometheusExporter(dataset)
    exporter.close()
    exporter.close()

    with pytest.raises(urllib.error.URLError):
        fetch(exporter.url)
    PrometheusExporter(dataset, port=exporter.port).close()


def test_a_forked_child_keeps_no_port_open_and_may_close_the_exporter(dataset: AsyncIterableDataset) -> None:
    exporter = PrometheusExporter(dataset)
    begin, end = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        exporter.close()
        os.write(begin[1], b"1")
        os.read(end[0], 1)
        os._exit(0)
    # It lives, and has let the port go.
    assert os.read(begin[0], 1) == b"1"
    assert "asyncio_loader_samples_total" in scrape(exporter)
    exporter.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", exporter.port or 0), timeout=5)
    os.write(end[1], b"1")
    os.waitpid(child, 0)
    for descriptor in (*begin, *end):
        os.close(descriptor)
