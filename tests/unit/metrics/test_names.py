from __future__ import annotations

import re

from asyncio_loader.metrics.names import METRICS, help_texts
from asyncio_loader.stats import LoaderStats


def test_every_field_of_loader_stats_is_a_metric() -> None:
    assert [metric.field for metric in METRICS] == list(LoaderStats.__dataclass_fields__)


def test_the_names() -> None:
    assert {metric.field: (metric.prometheus, metric.name, metric.unit) for metric in METRICS} == {
        "samples": ("asyncio_loader_samples_total", "asyncio_loader.samples", "{sample}"),
        "gets": ("asyncio_loader_gets_total", "asyncio_loader.gets", "{get}"),
        "retries": ("asyncio_loader_retries_total", "asyncio_loader.retries", "{get}"),
        "hedges": ("asyncio_loader_hedges_total", "asyncio_loader.hedges", "{get}"),
        "hedges_won": ("asyncio_loader_hedges_won_total", "asyncio_loader.hedges_won", "{get}"),
        "bytes_fetched": ("asyncio_loader_fetched_bytes_total", "asyncio_loader.fetched", "By"),
        "wait_s": ("asyncio_loader_wait_seconds_total", "asyncio_loader.wait", "s"),
        "elapsed_s": ("asyncio_loader_elapsed_seconds_total", "asyncio_loader.elapsed", "s"),
        "peak_window_bytes": ("asyncio_loader_window_peak_bytes", "asyncio_loader.window_peak", "By"),
        "level": ("asyncio_loader_in_flight_limit", "asyncio_loader.in_flight_limit", "{get}"),
        "pace": ("asyncio_loader_pace_per_second", "asyncio_loader.pace", "{get}/s"),
        "failed": ("asyncio_loader_failed_samples_total", "asyncio_loader.failed_samples", "{sample}"),
        "rejected": ("asyncio_loader_rejected_samples_total", "asyncio_loader.rejected_samples", "{sample}"),
        "refetches": ("asyncio_loader_refetches_total", "asyncio_loader.refetches", "{object}"),
    }


def test_no_name_is_the_beginning_of_another_one() -> None:
    """OpenTelemetry: what is a metric is no namespace."""
    names = [metric.name for metric in METRICS]

    assert not [(a, b) for a in names for b in names if b.startswith(f"{a}.")]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+", name) for name in names)


def test_what_adds_up_is_a_count() -> None:
    """`LoaderStats.__add__` knows which figures are none."""
    ones = LoaderStats(**dict.fromkeys(LoaderStats.__dataclass_fields__, 1))

    assert {m.field for m in METRICS if m.is_count} == {m.field for m in METRICS if getattr(ones + ones, m.field) == 2}


def test_the_docstring_says_how_to_read_a_metric() -> None:
    told = help_texts()

    assert (
        told["retries"]
        == "GETs made because an earlier one failed. Above 1 % of `gets`: look at the errors in the log."
    )
    assert told["wait_s"].endswith("near 0 the loader is not the limit.")
    assert not [field for field, text in told.items() if "\n" in text or "  " in text or len(text) < 20]
