"""An endpoint that Prometheus scrapes."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from asyncio_loader.checks import whole_number
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics.names import METRICS, help_texts
from asyncio_loader.metrics.sources import LABELS, Source, Sources, as_mapping, rank_label

__all__ = ["PrometheusExporter"]

_MOST_PORT = 65535
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class PrometheusExporter:
    """Shows the figures of loaders to Prometheus: ``http://addr:port/metrics``, or in a registry of yours.

    Figures are read when somebody asks for them, in the thread of the endpoint; loading pays nothing for it. It serves
    until `close`, or the end of the process, whether or not anybody keeps the exporter. In a forked child it is closed:
    the port is the parent's.

    A loader is held weakly. It is shown, after its own `close`, too, so that its last figures are scraped, for as long
    as it exists.

    Attributes:
        port: where it listens; None without an endpoint.
        url: of the metrics; None without an endpoint.
    """

    def __init__(
        self,
        loaders: Source | Mapping[str, Source] | None = None,
        *,
        port: int | None = 0,
        addr: str = "127.0.0.1",
        registry: CollectorRegistry | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Begin to serve.

        Args:
            loaders: a `Loader`, a dataset, or a DataLoader of one, which will be called "train"; or several by name;
                see also `add`. Those of a DataLoader before its workers start: what such a worker counts cannot be read
                later.
            port: to listen at; 0: any that is free; None: not at all, which wants a registry that somebody else serves.
            addr: address of this machine to listen at. "0.0.0.0": all, and whoever reaches the port reads the figures.
            registry: where the metrics go as well as those of others. None: one of its own.
            labels: further ones, the same for all metrics. `rank` may be among them, for it is found when this is
                made: in `torch.distributed`'s default group, else in RANK in the environment, else it is 0.

        Raises:
            ConfigError: a port that is in use, an address that is none of this machine, a wrong argument, or metrics of
                another exporter in the registry.
        """
        if port is None and registry is None:
            raise ConfigError("port=None: nobody would see the metrics without a registry that you serve yourself")
        if port is not None:
            whole_number("port", port, least=0, most=_MOST_PORT)
        self._sources = Sources()
        self._registry = CollectorRegistry() if registry is None else registry
        self._collector = _Collector(self._sources, _checked(labels))
        for name, loader in as_mapping(loaders).items():
            self._sources.add(name, loader)
        try:
            self._registry.register(self._collector)
        except ValueError as error:
            raise ConfigError(
                f"registry: another exporter is in it already: add() the loader to that one ({error})"
            ) from error
        try:
            self._endpoint = None if port is None else _Endpoint(addr, port, self._registry)
        except ConfigError:
            self._registry.unregister(self._collector)
            raise
        self.port = None if self._endpoint is None else self._endpoint.port
        host = f"[{addr}]" if ":" in addr else addr
        self.url = None if self._endpoint is None else f"http://{host}:{self.port}/metrics"
        self._is_open = True

    def add(self, name: str, loader: Source) -> None:
        """Show another one's figures, too, under the label ``loader="<name>"``.

        Raises:
            ConfigError: another one that is alive has the name, or it is no loader.
        """
        self._sources.add(name, loader)

    def close(self) -> None:
        """Give up the port, and leave the registry. Idempotent; takes up to half a second, for a scrape to end."""
        if not self._is_open:
            return
        self._is_open = False
        self._registry.unregister(self._collector)
        if self._endpoint is not None:
            self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Collector(Collector):
    """Makes Prometheus' metrics of what `sources` has."""

    def __init__(self, sources: Sources, labels: Mapping[str, str]) -> None:
        self._sources = sources
        self._labels = {"rank": str(rank_label()), **labels}
        self._help = help_texts()

    def describe(self) -> Iterable[Metric]:
        """The names alone: for the registry, which refuses those that it has."""
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        """The figures now."""
        families = self._families()
        fixed = list(self._labels.values())
        for reading in self._sources.read():
            for field, family in families.items():
                family.add_metric([reading.loader, reading.worker, *fixed], getattr(reading.stats, field))
        return families.values()

    def _families(self) -> dict[str, CounterMetricFamily | GaugeMetricFamily]:
        names = ["loader", "worker", *self._labels]
        return {
            metric.field: (CounterMetricFamily if metric.is_count else GaugeMetricFamily)(
                metric.prometheus, self._help[metric.field], labels=names
            )
            for metric in METRICS
        }


class _Endpoint:
    """A port, and the thread that answers there."""

    def __init__(self, addr: str, port: int, registry: CollectorRegistry) -> None:
        try:
            self._server, self._thread = start_http_server(port, addr, registry)
        except OSError as error:
            raise ConfigError(_say(addr, port, error)) from error
        self.port: int = self._server.server_port
        self._pid = os.getpid()
        _open.add(self._server)

    def close(self) -> None:
        """In a forked child nothing: there is no thread, and the port is closed."""
        if self._pid != os.getpid():
            return
        _open.discard(self._server)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _say(addr: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port={port}: in use on {addr} already; take another one, or 0 for any that is free"
    return f"addr={addr!r}, port={port}: metrics cannot be served there: {error.strerror or error}"


# A child that is forked, as a DataLoader's worker may be, would hold the ports open as long as it lives.
_open: set[WSGIServer] = set()


def _close_in_child() -> None:
    for server in _open:
        server.socket.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _checked(labels: Mapping[str, str] | None) -> dict[str, str]:
    for name, value in (labels or {}).items():
        if name in LABELS and name != "rank":
            raise ConfigError(f"labels: {name!r} is set for each loader, and cannot be the same for all")
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise ConfigError(f"labels: {name!r} is no name of a label: letters, digits and _, no digit first, no __")
        if not isinstance(value, str):
            raise ConfigError(f"labels: {name} must be a text, not {value!r}")
    return dict(labels or {})
