from __future__ import annotations

import json
from urllib.parse import quote

from asyncio_loader.testing.simulator.control import FIGURES_PATH, LOG_PATH, SETTINGS_PATH, Control
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.server import Server
from asyncio_loader.testing.simulator.settings import ServerSettings
from asyncio_loader.testing.simulator.spool import StoredObject

SETTINGS = ServerSettings(bucket="bucket")


def make_server() -> Server:
    return Server(SETTINGS, {"a": StoredObject("a", memoryview(b"x"), "e", 0.0)})


def ask(control: Control, target: str, method: str = "GET") -> tuple[int, bytes]:
    answer = control.decide(Request(method, target, "", None, True, 0)).answer
    return answer.status, bytes(answer.body)


def test_what_it_does_not_know_is_405() -> None:
    control = Control(make_server())

    assert ask(control, "/nothing")[0] == 405
    assert ask(control, FIGURES_PATH, "PUT")[0] == 405


def test_the_log_can_be_read_and_taken_away() -> None:
    server = make_server()
    control = Control(server)
    server.record(("GET", "a", None, 200, 1, 0.0, 0.0, 0, None))
    before = ask(control, LOG_PATH)

    assert b'"a"' in before[1]
    assert ask(control, LOG_PATH, "DELETE") == before
    assert ask(control, LOG_PATH) == (200, b"[]")


def test_figures_outlive_the_log() -> None:
    server = make_server()
    control = Control(server)
    server.record(("GET", "a", None, 200, 7, 0.0, 0.0, 0, None))
    ask(control, LOG_PATH, "DELETE")
    figures = json.loads(ask(control, FIGURES_PATH)[1])

    assert (figures["requests"], figures["sent_bytes"]) == (1, 7)


def test_settings_can_be_changed() -> None:
    server = make_server()
    changes = ServerSettings(bucket="bucket", faults=(Fault("reset"),)).dump_changes("faults")

    assert ask(Control(server), f"{SETTINGS_PATH}?{quote(changes)}", "PUT")[0] == 200
    assert server.decide(Request("GET", "/bucket/a", "", None, True, 0)).kind == "reset"


def test_its_own_requests_are_in_no_log() -> None:
    server = make_server()
    control = Control(server)
    control.record(("GET", "", None, 200, 1, 0.0, 0.0, control.number_connection(), None))

    assert server.figures().requests == server.figures().connections == 0
