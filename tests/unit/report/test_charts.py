from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.record import Step, read_record
from asyncio_loader.report.charts import loader_charts, loss_chart
from asyncio_loader.stats import LoaderStats


def traces_of(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


@pytest.fixture
def charts(make_run: Callable[..., Path]) -> dict[str, Any]:
    record = read_record(make_run() / "record.jsonl")
    return {chart.name: chart.figure for chart in loader_charts("l", record.steps("train"), record.total("train"))}


def test_curves_have_the_figures_of_the_record(charts: dict[str, Any]) -> None:
    rate, gets, flight = (traces_of(charts[f"l-{name}"]) for name in ("rate", "gets", "flight"))

    assert list(rate["samples/s"].y) == [40.0] * 10
    assert list(rate["MB/s"].y) == [4.0] * 10
    assert rate["samples/s"].x[0] == "2026-11-26 04:00:00.500"
    assert list(traces_of(charts["l-wait"])["waiting for data"].y) == [25.0] * 10
    assert [gets[name].y[0] for name in ("made", "pace", "refused", "other errors")] == [44, 50, 2, 0]
    assert list(flight["in flight"].y) == list(range(21, 31))
    assert list(traces_of(charts["l-window"])["taken"].y) == [32.0] * 10


def test_stages_are_shares_of_the_time_and_a_histogram_adds_up(charts: dict[str, Any]) -> None:
    (bars,) = charts["l-stages"].data
    shares = dict(zip(bars.y, bars.x, strict=True))
    latency = traces_of(charts["l-latency"])

    assert shares["no object to transform"] == pytest.approx(90)
    assert shares["transforming, each thread"] == pytest.approx(25)
    assert shares["training loop waits"] == pytest.approx(25)
    assert latency.keys() == {"fetch", "transform", "wait"}
    assert sum(latency["fetch"].y) == pytest.approx(100)
    assert 20 <= max(zip(latency["fetch"].y, latency["fetch"].x, strict=True))[1] <= 20 * 1.1


def test_the_verdict_over_time_names_what_limited_it(charts: dict[str, Any]) -> None:
    (points,) = charts["l-verdict"].data

    assert set(points.y) == {"request rate"}
    assert len(points.y) == 10
    assert "the server takes 42 GETs per second" in points.text[0]


def test_where_a_loader_stood_still_a_curve_has_a_gap() -> None:
    begin = datetime(2026, 11, 26, tzinfo=UTC)
    steps = [
        Step(end=begin + timedelta(seconds=at), over_s=1, stats=LoaderStats(samples=2, elapsed_s=1))
        for at in (1, 2, 60)
    ]

    charts = {chart.name: chart.figure for chart in loader_charts("l", steps, LoaderStats())}
    assert list(traces_of(charts["l-rate"])["samples/s"].y) == [2, 2, None, 2]
    # Of so few samples nothing can be said.
    assert "l-verdict" not in charts


def test_a_long_record_has_no_more_points_than_a_screen_shows() -> None:
    begin = datetime(2026, 11, 26, tzinfo=UTC)
    steps = [Step(end=begin + timedelta(seconds=n), over_s=1, stats=LoaderStats(samples=n)) for n in range(1, 4001)]

    charts = {chart.name: chart.figure for chart in loader_charts("l", steps, LoaderStats())}
    curve = traces_of(charts["l-rate"])["samples/s"]
    assert len(curve.y) == 1334
    assert sum(curve.y[:-1]) * 3 + curve.y[-1] == pytest.approx(sum(range(1, 4001)))


def test_every_axis_has_its_unit(charts: dict[str, Any]) -> None:
    for name, figure in charts.items():
        assert figure.layout.xaxis.title.text, name
        if name not in ("l-stages", "l-verdict"):
            assert figure.layout.yaxis.title.text, name


def test_names_of_losses_are_escaped() -> None:
    chart = loss_chart({"<a href='x'>loss": [(1, 2.0), (2, 1.0)]})

    (trace,) = chart.figure.data
    assert trace.name == "&lt;a href=&#x27;x&#x27;&gt;loss"
    assert list(trace.y) == [2.0, 1.0]
