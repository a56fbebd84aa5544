"""The page of ``asyncio-loader report``, of a small run whose server throttles, as Chromium shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader import AsyncIterableDataset, Fetched, Loader, S3Options
from asyncio_loader.cli import main
from asyncio_loader.errors import DecodeError
from asyncio_loader.record import RunRecord, StatsRecorder, read_record
from asyncio_loader.testing import S3Simulator, Throttle
from tests.browser import Page, needs_chromium, open_page

pytestmark = needs_chromium

# Whoever may write to the bucket chooses the keys.
EVIL = "train/<img src='http://127.0.0.1:9/x' onerror='throw 1'><script>throw 2</script>&.jpg"


def read(fetched: Fetched) -> int:
    if fetched.ref.uri.endswith(EVIL):
        raise DecodeError(f"{fetched.ref.uri}: no image", key=fetched.ref.uri)
    return len(fetched.data)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """Of 600 objects, of which the server gives 200 a second."""
    log_dir = tmp_path_factory.mktemp("work") / "20261126_040000"
    objects = {f"train/{number:03}.jpg": b"x" * 2000 for number in range(599)} | {EVIL: b"y"}
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        environ.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        with S3Simulator(objects, median_s=0.005, throttle=Throttle(per_second=200)) as server:
            dataset = AsyncIterableDataset(
                [f"s3://bucket/{key}" for key in objects],
                transform=read,
                storage=S3Options(endpoint_url=server.endpoint_url),
                on_error="replace",
                quarantine=log_dir / "quarantine.jsonl",
            )
            with Loader(dataset, 8) as loader, StatsRecorder(loader, log_dir / "record.jsonl", every_s=0.1):
                assert sum(len(batch) for batch in loader) == 600
    return read_record(log_dir / "record.jsonl")


FIGURES = """Object.fromEntries([...document.querySelectorAll(".figures div")].map(
    (one) => [one.querySelector("dt").innerText, one.querySelector("dd").innerText]))"""
ROWS = """[...document.querySelectorAll("%s tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText))"""
CURVE = """(() => { const trace = document.getElementById("%s").data.find((one) => one.name === "%s");
    return [...trace.y]; })()"""
# Of a chart that was drawn: what stands in its picture, and how many pixels its curves cover.
DRAWN = """[...document.querySelectorAll(".chart")].map((chart) => ({
    name: chart.id,
    titles: [...chart.querySelectorAll(".xtitle, .ytitle, .y2title")].map((one) => one.textContent),
    width: chart.querySelector("svg").getBoundingClientRect().width}))"""


async def test_the_page_shows_the_figures_of_the_record(record: RunRecord, tmp_path: Path) -> None:
    page_path = tmp_path / "report.html"
    assert main(["report", str(Path(record.source).parent), "-o", str(page_path)]) == 0
    async with asyncio.timeout(120), open_page(tmp_path / "profile") as page:
        await page.show(1280)
        await page.go(page_path.as_uri())
        await drawn(page)

        await check_numbers(page, record)
        await check_curves(page, record)
        for width, is_dark in ((1280, False), (400, True)):
            await page.show(width, dark=is_dark)
            await check_layout(page, width, is_dark=is_dark)

        assert page.said == []
        assert page.requests == [page_path.as_uri()]


async def test_what_a_page_says_and_asks_for_is_seen(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('said'); throw new Error('thrown')</script>"
    )

    async with asyncio.timeout(120), open_page(tmp_path / "profile") as page:
        await page.go(bad.as_uri())

        assert page.requests == [bad.as_uri(), "http://127.0.0.1:9/x.png"]
        assert [word for word in ("said", "thrown", "ERR_") if not any(word in text for text in page.said)] == []


async def drawn(page: Page) -> None:
    """Wait until all charts are there."""
    await page.value("draw()")
    assert await page.value("document.documentElement.dataset.drawn") == "true"


async def check_numbers(page: Page, record: RunRecord) -> None:
    total = record.total("train")
    figures = await page.value(FIGURES)
    assert figures["samples"] == "600"
    assert figures["GETs"] == f"{total.gets:,}"
    assert figures["refused"] == f"{total.throttled:,}"
    assert total.throttled > 0
    assert figures["waiting for data"] == f"{100 * total.wait_share:.1f} %"
    assert await page.value("document.querySelector('.verdict').innerText") != ""
    durations = {row[0]: row[1:] for row in await page.value(ROWS % ".durations")}
    of = total.fetch
    expected = [f"{1000 * seconds:,.2f}" for seconds in (of.mean_s, of.p50_s, of.p95_s, of.p99_s)]
    assert durations["fetch, per object"] == [f"{of.count:,}", *expected]
    slowest = await page.value(ROWS % ".slowest")
    assert slowest == [[f"{slow.wait_s:,.3f}", slow.uri] for slow in total.slowest]
    ((key, error, *_),) = await page.value(ROWS % ".quarantine")
    assert (key, error) == (f"s3://bucket/{EVIL}", "DecodeError")


async def check_curves(page: Page, record: RunRecord) -> None:
    steps = record.steps("train")

    async def curve(chart: str, name: str) -> Any:
        return [value for value in await page.value(CURVE % (chart, name)) if value is not None]

    rates = [step.per_s(step.stats.samples) for step in steps]
    assert await curve("loader0-rate", "samples/s") == pytest.approx(rates, abs=1e-3)
    refused = [step.per_s(step.stats.throttled) for step in steps]
    assert await curve("loader0-gets", "refused") == pytest.approx(refused, abs=1e-3)
    assert await curve("loader0-flight", "in flight") == [step.stats.in_flight for step in steps]
    shares = [100 * step.stats.wait_share for step in steps if step.stats.elapsed_s]
    assert await curve("loader0-wait", "waiting for data") == pytest.approx(shares, abs=1e-3)
    assert sum(await curve("loader0-latency", "fetch")) == pytest.approx(100, abs=0.01)


async def check_layout(page: Page, width: int, *, is_dark: bool) -> None:
    """Every chart is drawn, with a text at each axis; nothing is wider than the screen, and all follows the theme."""
    await drawn(page)
    charts = {chart["name"]: chart for chart in await page.value(DRAWN)}
    names = ("rate", "wait", "stages", "latency", "flight", "gets", "window", "verdict")
    assert list(charts) == [f"loader0-{name}" for name in names]
    assert charts["loader0-rate"]["titles"] == ["time (UTC)", "samples/s", "MB/s"]
    assert charts["loader0-latency"]["titles"] == ["duration (ms)", "share (%)"]
    assert all(200 < chart["width"] <= width for chart in charts.values())
    assert await page.value("document.documentElement.scrollWidth") <= width
    ink = await page.value("document.querySelector('.xtitle').style.fill")
    assert ink == ("rgb(230, 237, 243)" if is_dark else "rgb(31, 35, 40)")
