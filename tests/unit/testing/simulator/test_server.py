from __future__ import annotations

import json
from urllib.parse import quote

from asyncio_loader.testing.simulator.connection import Verdict
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.server import FIGURES_PATH, LOG_PATH, SETTINGS_PATH, Server
from asyncio_loader.testing.simulator.settings import ServerSettings
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.throttle import Throttle


def make_server(latency: Latency | None = None, *faults: Fault, throttles: tuple[Throttle, ...] = ()) -> Server:
    settings = ServerSettings(bucket="bucket", latency=latency or Latency(), faults=faults, throttles=throttles)
    return Server(settings, {key: StoredObject(key, memoryview(b"x"), "e", 0.0) for key in "ab"})


def request(target: str, method: str = "GET") -> Request:
    return Request(method, target, "", None, True, 0)


def change(server: Server, **fields: object) -> None:
    settings = ServerSettings(bucket="bucket", **fields)  # type: ignore[arg-type]
    answer = server.control(request(f"{SETTINGS_PATH}?{quote(settings.dump_changes(*fields))}", "PUT"))
    assert answer is not None
    assert answer.status == 200


def test_the_requests_of_each_key_are_numbered() -> None:
    latency = Latency(median_s=0.03, p99_s=0.15)
    server = make_server(latency)
    delays = [server.decide(request(f"/bucket/{key}")).delay_s for key in "abaab"]

    assert delays == [latency.delay_s(key, number) for key, number in zip("abaab", (0, 0, 1, 2, 1), strict=True)]


def test_a_status_fault_replaces_the_answer() -> None:
    verdict = make_server(None, Fault("status", status=403)).decide(request("/bucket/a", "HEAD"))

    assert (verdict.answer.status, len(verdict.answer.body), verdict.kind) == (403, 0, "status")


def test_another_fault_leaves_the_answer() -> None:
    verdict = make_server(None, Fault("short")).decide(request("/bucket/a"))

    assert (verdict.answer.status, verdict.fault) == (200, Fault("short"))


def test_one_request_too_many_is_told_to_slow_down_at_once() -> None:
    throttle = Throttle(per_second=0.001, burst=1, retry_after_s=3)
    server = make_server(Latency(median_s=0.1), throttles=(throttle,))
    first, second = (server.decide(request("/bucket/a")) for _ in range(2))

    assert (first.answer.status, first.delay_s) == (200, 0.1)
    assert (second.answer.status, second.delay_s, second.kind) == (503, 0.0, "throttle")
    assert b"\r\nRetry-After: 3\r\n" in second.answer.head
    assert b"<Code>SlowDown</Code>" in bytes(second.answer.body)


def test_what_is_throttled_has_no_number() -> None:
    """The clock decides about a throttle: a fault that came with the third request would come at random."""
    server = make_server(None, Fault("reset", times=2), throttles=(Throttle(per_second=0.001, burst=1),))
    kinds = [server.decide(request("/bucket/a")).kind for _ in range(3)]
    change(server, throttles=())
    kinds += [server.decide(request("/bucket/a")).kind for _ in range(2)]

    assert kinds == ["reset", "throttle", "throttle", "reset", None]


def test_faults_can_be_changed_and_begin_anew() -> None:
    server = make_server(None, Fault("reset", times=1))
    kinds = [server.decide(request("/bucket/a")).kind for _ in range(2)]
    change(server, faults=(Fault("reset", times=1),))
    kinds += [server.decide(request("/bucket/a")).kind for _ in range(2)]
    change(server, faults=())

    assert kinds == ["reset", None, "reset", None]
    assert server.decide(request("/bucket/a")) == Verdict(server.decide(request("/bucket/a")).answer)


def test_what_is_not_changed_stays_as_it_was() -> None:
    server = make_server(None, Fault("reset", times=1))
    server.decide(request("/bucket/a"))
    server.link.bytes_s = 1e6
    throttled = ServerSettings(bucket="bucket", bandwidth_bytes_s=1e6).dump_changes("throttles")
    server.control(request(f"{SETTINGS_PATH}?{quote(throttled)}", "PUT"))

    assert server.link.bytes_s == 1e6
    assert server.decide(request("/bucket/a")).kind is None


def test_figures_are_sums() -> None:
    server = make_server(throttles=(Throttle(per_second=0.001, burst=1),))
    for number in range(3):
        verdict = server.decide(request("/bucket/a"))
        if number < 2:
            row = ("GET", "a", None, verdict.answer.status, len(verdict.answer.body), 0.0, 0.0, 0, verdict.kind)
            server.record(row)
    server.number_connection()
    answer = server.control(request(FIGURES_PATH))
    assert answer is not None
    figures = json.loads(bytes(answer.body))
    server.control(request(LOG_PATH, "DELETE"))

    assert (figures["requests"], figures["throttled"], figures["in_flight"], figures["connections"]) == (2, 1, 1, 1)
    assert figures["sent_bytes"] > 1
    assert server.figures().requests == 2


def test_control_requests_are_not_those_of_a_client() -> None:
    server = make_server()

    assert server.control(request("/bucket/a")) is None
    assert server.control(request("/-/nothing")).status == 405
    assert bytes(server.control(request(LOG_PATH)).body) == b"[]"


def test_the_log_can_be_taken_away() -> None:
    server = make_server()
    server.record(("GET", "a", None, 200, 1, 0.0, 0.0, 0, None))

    assert b'"a"' in bytes(server.control(request(LOG_PATH, "DELETE")).body)
    assert bytes(server.control(request(LOG_PATH)).body) == b"[]"
