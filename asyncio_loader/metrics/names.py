"""What each number of `LoaderStats` is called outside, in the conventions of OpenTelemetry and of Prometheus."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from asyncio_loader.stats import LoaderStats

__all__ = ["METRICS", "MetricName", "help_texts"]

# As OpenTelemetry's specification has its names and units translated for Prometheus; what stands in braces is a word
# for people. https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
_UNIT_SUFFIXES = {"By": "_bytes", "s": "_seconds", "{get}/s": "_per_second"}


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric.

    Attributes:
        field: of `LoaderStats`.
        name: in OpenTelemetry: words within dots, neither unit nor ``total``.
        unit: by UCUM, "By" for bytes, "s" for seconds; what is counted stands in braces.
        is_count: it only grows, and figures of several processes may be added up. Otherwise it is as it is now.
    """

    field: str
    name: str
    unit: str
    is_count: bool = True

    @property
    def prometheus(self) -> str:
        """In Prometheus: the same words, unit, and ``total`` of what is counted.

        The very name that a collector gives the OpenTelemetry metric when it writes it to Prometheus: a dashboard fits
        either way.
        """
        total = "_total" if self.is_count else ""
        return f"{self.name.replace('.', '_')}{_UNIT_SUFFIXES.get(self.unit, '')}{total}"


# Retries and hedges have names of their own rather than one name with a label for the kind of GET: the first GETs would
# be a difference of figures that are written one after the other, which may shrink by one for a moment; and a counter
# that shrinks is taken for one that began anew.
METRICS = (
    MetricName("samples", "asyncio_loader.samples", "{sample}"),
    MetricName("gets", "asyncio_loader.gets", "{get}"),
    MetricName("retries", "asyncio_loader.retries", "{get}"),
    MetricName("hedges", "asyncio_loader.hedges", "{get}"),
    MetricName("hedges_won", "asyncio_loader.hedges_won", "{get}"),
    MetricName("bytes_fetched", "asyncio_loader.fetched", "By"),
    MetricName("wait_s", "asyncio_loader.wait", "s"),
    MetricName("elapsed_s", "asyncio_loader.elapsed", "s"),
    MetricName("peak_window_bytes", "asyncio_loader.window_peak", "By", is_count=False),
    MetricName("level", "asyncio_loader.in_flight_limit", "{get}", is_count=False),
    MetricName("pace", "asyncio_loader.pace", "{get}/s", is_count=False),
    MetricName("failed", "asyncio_loader.failed_samples", "{sample}"),
    MetricName("rejected", "asyncio_loader.rejected_samples", "{sample}"),
    MetricName("refetches", "asyncio_loader.refetches", "{object}"),
    MetricName("throttled", "asyncio_loader.throttled_gets", "{get}"),
    MetricName("timeouts", "asyncio_loader.timed_out_gets", "{get}"),
    MetricName("lost_connections", "asyncio_loader.lost_connections", "{get}"),
    MetricName("server_faults", "asyncio_loader.server_faults", "{get}"),
    MetricName("damaged", "asyncio_loader.damaged_bodies", "{get}"),
    MetricName("other_errors", "asyncio_loader.other_errors", "{get}"),
    MetricName("order_s", "asyncio_loader.order", "s"),
    MetricName("fetch_s", "asyncio_loader.fetch", "s"),
    MetricName("window_full_s", "asyncio_loader.window_full", "s"),
    MetricName("starved_s", "asyncio_loader.starved", "s"),
    MetricName("transform_s", "asyncio_loader.transform", "s"),
    MetricName("blocked_s", "asyncio_loader.blocked", "s"),
    MetricName("startup_s", "asyncio_loader.startup", "s"),
    MetricName("hand_over_s", "asyncio_loader.hand_over", "s"),
    MetricName("threads", "asyncio_loader.threads", "{thread}", is_count=False),
    MetricName("in_flight", "asyncio_loader.in_flight", "{object}", is_count=False),
    MetricName("held_bytes", "asyncio_loader.window_held", "By", is_count=False),
    MetricName("window_bytes", "asyncio_loader.window_limit", "By", is_count=False),
    MetricName("most_in_flight", "asyncio_loader.in_flight_most", "{get}", is_count=False),
)


def help_texts() -> dict[str, str]:
    """What the docstring of `LoaderStats` says of each field, in one line; how to read it, as well.

    The name of the field where Python was told to leave docstrings out (``-OO``).
    """
    _, _, attributes = inspect.cleandoc(LoaderStats.__doc__ or "").partition("Attributes:\n")
    entries = re.split(r"^ {4}(\w+): ", attributes, flags=re.MULTILINE)
    told = dict(zip(entries[1::2], (" ".join(text.split()) for text in entries[2::2]), strict=True))
    return {metric.field: told.get(metric.field, metric.field) for metric in METRICS}
