from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from asyncio_loader import AsyncIterableDataset, cli
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics import PrometheusExporter
from asyncio_loader.training.distributed import Ranks
from asyncio_loader.training.exporting import open_exporter
from tests.unit.training.crew import Crew

CONFIG = Path(__file__).parents[3] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"
LOOPBACK = "127.0.0.1"


def free_pair() -> int:
    """A port that is free, and so is the next one."""
    while True:
        with ExitStack() as stack:
            first, second = (stack.enter_context(socket.socket()) for _ in range(2))
            first.bind((LOOPBACK, 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((LOOPBACK, port + 1))
            except (OSError, OverflowError):
                continue
            return port


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((LOOPBACK, port)) == 0


def test_nothing_is_opened_unless_it_is_asked_for() -> None:
    with ExitStack() as stack:
        assert open_exporter(None, LOOPBACK, Ranks(), stack) is None


def test_it_is_open_for_as_long_as_the_run_lasts(caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack, caplog.at_level(logging.INFO):
        exporter = open_exporter(0, LOOPBACK, Ranks(), stack)
        assert exporter is not None
        assert exporter.port is not None
        assert listens(exporter.port)

    assert not listens(exporter.port)
    assert f"metrics: http://127.0.0.1:{exporter.port}/metrics" in caplog.text


def test_a_rank_takes_the_port_above_by_its_number_on_the_machine() -> None:
    port = free_pair()
    dataset = AsyncIterableDataset([__file__])
    with ExitStack() as stack:
        exporter = open_exporter(port, LOOPBACK, Ranks(5, 8, 1), stack)
        assert exporter is not None
        exporter.add("train", dataset)

        assert exporter.port == port + 1
        (label,) = {family.samples[0].labels["rank"] for family in exporter._collector.collect()}

    assert label == "5"


def _open(ranks: Ranks, port: int) -> str:
    ranks.local_rank = ranks.rank
    with ExitStack() as stack:
        try:
            open_exporter(port, LOOPBACK, ranks, stack)
        except ConfigError as error:
            return str(error)
        ranks.wait()
    return "open"


def test_what_is_wrong_on_one_rank_is_raised_on_all() -> None:
    port = free_pair()
    with Crew(2) as crew:
        assert crew.run(_open, port) == ["open", "open"]
        with socket.socket() as taken:
            taken.bind((LOOPBACK, port + 1))
            taken.listen()
            outcome = crew.run(_open, port)
        refused = crew.run(_open, 0)

    assert outcome == [f"port={port + 1}: in use on 127.0.0.1 already; take another one, or 0 for any that is free"] * 2
    assert refused == ["metrics_port=0: nobody would find the ports of several ranks; say one"] * 2


def _taken(monkeypatch: pytest.MonkeyPatch, exporter: PrometheusExporter) -> str:
    return f"port={exporter.port}: in use on 127.0.0.1 already"


def _not_installed(monkeypatch: pytest.MonkeyPatch, exporter: PrometheusExporter) -> str:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "asyncio_loader.metrics.prometheus")
    return "this needs prometheus_client: pip install 'asyncio-loader[metrics]'"


@pytest.mark.parametrize("prepare", [_taken, _not_installed])
def test_on_the_command_line_it_is_one_line_and_2(
    prepare: Callable[[pytest.MonkeyPatch, PrometheusExporter], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with PrometheusExporter() as exporter:
        said = prepare(monkeypatch, exporter)
        code = cli.main(["train", str(CONFIG), "--work-dir", str(tmp_path), "--metrics-port", str(exporter.port)])

    errors = capsys.readouterr().err
    assert code == 2
    assert errors.startswith(f"asyncio-loader: error: {said}")
    assert errors.count("\n") == 1
