"""The figures of `LoaderStats` for Prometheus and OpenTelemetry. Needs ``pip install 'asyncio-loader[metrics]'``.

::

    from asyncio_loader.metrics import PrometheusExporter

    with PrometheusExporter({"train": train_loader, "val": val_loader}, port=9400):
        train(train_loader, val_loader)  # http://127.0.0.1:9400/metrics

or, with a provider that the OpenTelemetry SDK has set up to export where you want it::

    from asyncio_loader.metrics import instrument

    instrument({"train": train_loader, "val": val_loader}, meter_provider)

On the command line ``asyncio-loader train CONFIG --metrics-port 9400`` does the former; each rank of a machine takes
the port above it by its number on that machine: 9400, 9401 …

**What there is**: every field of `LoaderStats`, with what its docstring says as the help text. `names.METRICS` has the
names: ``asyncio_loader_samples_total`` in Prometheus, where seconds and bytes are in the name
(``asyncio_loader_wait_seconds_total``, ``asyncio_loader_fetched_bytes_total``), is ``asyncio_loader.samples`` with a
unit in OpenTelemetry. They are what OpenTelemetry's own translation makes of each other, so a dashboard fits either
way. There are no shares or rates: they are made where they are shown, over the time that is shown::

    rate(asyncio_loader_wait_seconds_total[1m]) / rate(asyncio_loader_elapsed_seconds_total[1m])   # waiting for data
    rate(asyncio_loader_fetched_bytes_total[1m])                                                   # bytes per second
    rate(asyncio_loader_retries_total[5m]) / rate(asyncio_loader_gets_total[5m])                   # above 0.01: look

**Labels** (attributes ``asyncio_loader.…`` in OpenTelemetry): ``loader``, the name that was given to it; ``rank``, of
the process in the job; ``worker``, the number of a DataLoader's worker process, or "main" for the process itself, which
is the one that counts in a `Loader` and without workers. Every rank has an exporter of its own; Prometheus adds up.

**Workers** of a DataLoader count in memory that they share with the process that started them
(`bridge.worker_counters`), if the exporter was made before they started. A worker that ends leaves its counts there,
and the next one of its number goes on from them. This was chosen over the other ways because nothing is sent and
nothing can be lost. An endpoint in each worker loses what was counted since the last scrape when it ends, and has a
port that nobody knows. Messages to the main process need somebody there who reads them, also while it trains.
prometheus_client's own multiprocess mode wants a directory in the environment before the first import, holds for all
metrics of the process, tells workers apart by pid, and is of no use to OpenTelemetry.

**Cost**: none while loading in this process, as figures are read when somebody asks. In workers a count takes 0.2 µs
longer, some ten of them for a sample.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio_loader.metrics.opentelemetry import Instrumentation, instrument
    from asyncio_loader.metrics.prometheus import PrometheusExporter

__all__ = ["Instrumentation", "PrometheusExporter", "instrument"]

# On first use: whoever wants one of them needs not have the other's packages.
_HOMES = {"Instrumentation": "opentelemetry", "PrometheusExporter": "prometheus", "instrument": "opentelemetry"}

_OF_EXTRA = ("opentelemetry", "prometheus_client")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _OF_EXTRA:
            raise
        message = f"this needs {package}: pip install 'asyncio-loader[metrics]'"
        raise ModuleNotFoundError(message, name=error.name) from error
