from __future__ import annotations

import re

from asyncio_loader.metrics.names import METRICS, help_texts
from asyncio_loader.stats import NUMBERS, LoaderStats


def test_every_number_of_loader_stats_is_a_metric() -> None:
    assert [metric.field for metric in METRICS] == list(NUMBERS)


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
        "throttled": ("asyncio_loader_throttled_gets_total", "asyncio_loader.throttled_gets", "{get}"),
        "timeouts": ("asyncio_loader_timed_out_gets_total", "asyncio_loader.timed_out_gets", "{get}"),
        "lost_connections": ("asyncio_loader_lost_connections_total", "asyncio_loader.lost_connections", "{get}"),
        "server_faults": ("asyncio_loader_server_faults_total", "asyncio_loader.server_faults", "{get}"),
        "damaged": ("asyncio_loader_damaged_bodies_total", "asyncio_loader.damaged_bodies", "{get}"),
        "other_errors": ("asyncio_loader_other_errors_total", "asyncio_loader.other_errors", "{get}"),
        "order_s": ("asyncio_loader_order_seconds_total", "asyncio_loader.order", "s"),
        "fetch_s": ("asyncio_loader_fetch_seconds_total", "asyncio_loader.fetch", "s"),
        "window_full_s": ("asyncio_loader_window_full_seconds_total", "asyncio_loader.window_full", "s"),
        "starved_s": ("asyncio_loader_starved_seconds_total", "asyncio_loader.starved", "s"),
        "transform_s": ("asyncio_loader_transform_seconds_total", "asyncio_loader.transform", "s"),
        "blocked_s": ("asyncio_loader_blocked_seconds_total", "asyncio_loader.blocked", "s"),
        "startup_s": ("asyncio_loader_startup_seconds_total", "asyncio_loader.startup", "s"),
        "hand_over_s": ("asyncio_loader_hand_over_seconds_total", "asyncio_loader.hand_over", "s"),
        "threads": ("asyncio_loader_threads", "asyncio_loader.threads", "{thread}"),
        "in_flight": ("asyncio_loader_in_flight", "asyncio_loader.in_flight", "{object}"),
        "held_bytes": ("asyncio_loader_window_held_bytes", "asyncio_loader.window_held", "By"),
        "window_bytes": ("asyncio_loader_window_limit_bytes", "asyncio_loader.window_limit", "By"),
        "most_in_flight": ("asyncio_loader_in_flight_most", "asyncio_loader.in_flight_most", "{get}"),
    }


def test_no_name_is_the_beginning_of_another_one() -> None:
    """OpenTelemetry: what is a metric is no namespace."""
    names = [metric.name for metric in METRICS]

    assert not [(a, b) for a in names for b in names if b.startswith(f"{a}.")]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+", name) for name in names)


def test_what_adds_up_is_a_count() -> None:
    """`LoaderStats.__add__` knows which figures are none."""
    ones = LoaderStats(**dict.fromkeys(NUMBERS, 1))

    assert {m.field for m in METRICS if m.is_count} == {m.field for m in METRICS if getattr(ones + ones, m.field) == 2}


def test_the_docstring_says_how_to_read_a_metric() -> None:
    told = help_texts()

    assert (
        told["retries"]
        == "GETs made because an earlier one failed. Above 1 % of `gets`: look at the errors in the log."
    )
    assert told["wait_s"].endswith("near 0 the loader is not the limit.")
    assert not [field for field, text in told.items() if "\n" in text or "  " in text or len(text) < 20]
