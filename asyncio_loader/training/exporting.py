"""A run shows its figures to Prometheus while it trains."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from asyncio_loader import metrics
from asyncio_loader.errors import ConfigError
from asyncio_loader.training.distributed import Ranks

if TYPE_CHECKING:
    from asyncio_loader.metrics import PrometheusExporter

__all__ = ["open_exporter"]

_LOG = logging.getLogger(__name__)


def open_exporter(port: int | None, addr: str, ranks: Ranks, stack: ExitStack) -> PrometheusExporter | None:
    """An exporter without loaders yet, which closes with `stack`; None where no port is asked for.

    Each rank takes the port above `port` by its number on this machine. Collective, if a port is asked for: what is
    wrong on one rank is raised on all.

    Raises:
        ConfigError: the port of a rank is in use or none, or `addr` is no address of this machine.
        ModuleNotFoundError: the extra ``metrics`` is not installed.
    """
    if port is None:
        return None
    with ranks.agreed():
        if port == 0 and ranks.world > 1:
            raise ConfigError("metrics_port=0: nobody would find the ports of several ranks; say one")
        exporter = metrics.PrometheusExporter(
            port=port + ranks.local_rank if port else 0, addr=addr, labels={"rank": str(ranks.rank)}
        )
        stack.callback(exporter.close)
    _LOG.info("metrics: %s", exporter.url)
    return exporter
