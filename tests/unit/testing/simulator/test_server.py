from __future__ import annotations

from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.server import CONTROL_PATH, Server, ServerSettings
from asyncio_loader.testing.simulator.spool import StoredObject


def make_server(latency: Latency | None = None, *faults: Fault, seed: int = 0) -> Server:
    settings = ServerSettings(bucket="bucket", latency=latency or Latency(), faults=faults, seed=seed)
    return Server(settings, {key: StoredObject(key, memoryview(b"x"), "e", 0.0) for key in "ab"})


def request(target: str, method: str = "GET") -> Request:
    return Request(method, target, "", None, True, 0)


def test_settings_cross_to_another_process() -> None:
    settings = ServerSettings(
        bucket="bucket", latency=Latency(median_s=0.1, p99_s=0.2), faults=(Fault("short", times=2),), seed=7
    )

    assert ServerSettings.load(settings.dump()) == settings


def test_the_requests_of_each_key_are_numbered() -> None:
    latency = Latency(median_s=0.03, p99_s=0.15)
    server = make_server(latency)
    delays = [server.decide(request(f"/bucket/{key}"))[1] for key in "abaab"]

    assert delays == [latency.delay_s(key, number) for key, number in zip("abaab", (0, 0, 1, 2, 1), strict=True)]


def test_a_status_fault_replaces_the_answer() -> None:
    answer, _, fault = make_server(None, Fault("status", status=403)).decide(request("/bucket/a", "HEAD"))

    assert (answer.status, len(answer.body), fault) == (403, 0, Fault("status", status=403))


def test_another_fault_leaves_the_answer() -> None:
    answer, _, fault = make_server(None, Fault("short")).decide(request("/bucket/a"))

    assert (answer.status, fault) == (200, Fault("short"))


def test_control_requests_are_not_those_of_a_client() -> None:
    server = make_server()

    assert server.control(request("/bucket/a")) is None
    assert server.control(request("/-/nothing")).status == 405
    assert bytes(server.control(request(CONTROL_PATH)).body) == b"[]"


def test_the_log_can_be_taken_away() -> None:
    server = make_server()
    server.record(("GET", "a", None, 200, 1, 0.0, 0.0, 0, None))

    assert b'"a"' in bytes(server.control(request(CONTROL_PATH, "DELETE")).body)
    assert bytes(server.control(request(CONTROL_PATH)).body) == b"[]"
