"""The simulator's own port: its log, its figures, other settings. Its clients are no clients of S3.

A port of its own keeps them out of the log, the faults and the counts of connections, and without TLS.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from urllib.parse import unquote

from asyncio_loader.testing.simulator.answers import Answer, answer_document, answer_error
from asyncio_loader.testing.simulator.connection import Connection, Verdict
from asyncio_loader.testing.simulator.link import Link
from asyncio_loader.testing.simulator.log import Row
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.server import Server
from asyncio_loader.testing.simulator.settings import load_changes

__all__ = ["FIGURES_PATH", "LOG_PATH", "SETTINGS_PATH", "Control"]

LOG_PATH = "/requests"
"""GET: the log. DELETE: the log, a last time."""

FIGURES_PATH = "/figures"
"""GET: `SimulatorFigures`."""

SETTINGS_PATH = "/settings"
"""PUT: what `ServerSettings.dump_changes` gives, quoted, as the query."""


class Control:
    """What the connections of the control port ask."""

    def __init__(self, server: Server) -> None:
        self.link = Link()
        self.date_line = server.date_line
        self._server = server

    def connect(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return Connection(self)

    def decide(self, request: Request) -> Verdict:
        """See `Verdicts`."""
        return Verdict(self._answer(request))

    def number_connection(self) -> int:
        """See `Verdicts`."""
        return 0

    def record(self, row: Row) -> None:
        """See `Verdicts`: nobody is interested."""

    def _answer(self, request: Request) -> Answer:
        path, _, query = request.target.partition("?")
        server = self._server
        if path == LOG_PATH and request.method in ("GET", "DELETE"):
            document = server.log.dump()
            if request.method == "DELETE":
                server.log.clear()
        elif path == FIGURES_PATH and request.method == "GET":
            document = json.dumps(asdict(server.figures())).encode()
        elif path == SETTINGS_PATH and request.method == "PUT":
            server.change(load_changes(unquote(query)))
            document = b"{}"
        else:
            return answer_error(405)
        return answer_document(document, "application/json")
