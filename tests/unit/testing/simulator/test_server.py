from __future__ import annotations

import time

import pytest

from asyncio_loader.testing.simulator.connection import Connection, RefusedConnection, Verdict
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.log import RequestLog
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.server import Server
from asyncio_loader.testing.simulator.settings import ServerSettings
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.throttle import Throttle


def make_server(latency: Latency | None = None, *faults: Fault, throttles: tuple[Throttle, ...] = ()) -> Server:
    settings = ServerSettings(bucket="bucket", latency=latency or Latency(), faults=faults, throttles=throttles)
    return Server(settings, {key: StoredObject(key, memoryview(b"x"), "e", 0.0) for key in "ab"})


def request(target: str, method: str = "GET") -> Request:
    return Request(method, target, "", None, True, 0)


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
    server.change({"throttles": ()})
    kinds += [server.decide(request("/bucket/a")).kind for _ in range(2)]

    assert kinds == ["reset", "throttle", "throttle", "reset", None]


def test_faults_can_be_changed_and_begin_anew() -> None:
    server = make_server(None, Fault("reset", times=1))
    kinds = [server.decide(request("/bucket/a")).kind for _ in range(2)]
    server.change({"faults": (Fault("reset", times=1),)})
    kinds += [server.decide(request("/bucket/a")).kind for _ in range(2)]
    server.change({"faults": ()})

    assert kinds == ["reset", None, "reset", None]
    assert server.decide(request("/bucket/a")) == Verdict(server.decide(request("/bucket/a")).answer)


def test_what_is_not_changed_stays_as_it_was() -> None:
    server = make_server(None, Fault("reset", times=1))
    server.decide(request("/bucket/a"))
    server.change({"throttles": (Throttle(per_second=1000),)})

    assert server.decide(request("/bucket/a")).kind is None


def test_figures_are_sums() -> None:
    server = make_server(throttles=(Throttle(per_second=0.001, burst=1),))
    for number in range(3):
        verdict = server.decide(request("/bucket/a"))
        if number < 2:
            row = ("GET", "a", None, verdict.answer.status, len(verdict.answer.body), 0.0, 0.0, 0, verdict.kind)
            server.record(row)
    server.number_connection()
    figures = server.figures()

    assert (figures.requests, figures.throttled, figures.in_flight, figures.connections) == (2, 1, 1, 1)
    assert figures.sent_bytes > 1


SIGNED = "\r\nauthorization: aws4-hmac-sha256 credential=old/20260131/us-east-1/s3/aws4_request, signedheaders=…\r\n"


@pytest.mark.parametrize(
    ("pattern", "status"), [("OLD/*", 400), ("*/us-east-1/*", 400), ("NEW/*", 200), ("*/eu-west-1/*", 200)]
)
def test_a_fault_may_be_about_the_credential(pattern: str, status: int) -> None:
    server = make_server(None, Fault("status", status=400, code="ExpiredToken", credential=pattern))

    assert server.decide(request("/bucket/a")._replace(headers=SIGNED)).answer.status == status
    assert server.decide(request("/bucket/a")).answer.status == 200


def test_a_status_fault_tells_region_and_how_long_to_wait() -> None:
    fault = Fault("status", status=301, region="eu-west-1", retry_after_s=2)
    answer = make_server(None, fault).decide(request("/bucket/a")).answer

    assert b"\r\nx-amz-bucket-region: eu-west-1\r\nRetry-After: 2\r\n" in answer.head
    assert b"<Code>PermanentRedirect</Code>" in bytes(answer.body)


def test_a_slow_request_waits_in_place_of_the_latency() -> None:
    assert make_server(Latency(median_s=0.1), Fault("slow", delay_s=2)).decide(request("/bucket/a")).delay_s == 2


@pytest.mark.parametrize(("offset_s", "status"), [(None, 200), (0, 403), (-31_536_000, 403)])
def test_a_request_of_another_time_is_refused(offset_s: float | None, status: int) -> None:
    settings = ServerSettings(bucket="bucket", clock_offset_s=offset_s)
    server = Server(settings, {"a": StoredObject("a", memoryview(b"x"), "e", 0.0)})
    old = request("/bucket/a")._replace(headers="\r\nx-amz-date: 20200131t120000z\r\n")
    verdict = server.decide(old)

    assert verdict.answer.status == status
    assert (verdict.kind == "skew") == (status == 403)
    assert (b"<RequestTime>20200131T120000Z</RequestTime>" in bytes(verdict.answer.body)) == (status == 403)


def test_requests_of_the_servers_own_time_are_taken() -> None:
    settings = ServerSettings(bucket="bucket", clock_offset_s=3600.0)
    server = Server(settings, {"a": StoredObject("a", memoryview(b"x"), "e", 0.0)})
    now_s = time.time() + 3600
    stamps = [time.strftime("%Y%m%dt%H%M%Sz", time.gmtime(now_s + skew_s)) for skew_s in (-890, 890, -910, 910)]
    asked = [request("/bucket/a")._replace(headers=f"\r\nx-amz-date: {stamp}\r\n") for stamp in stamps]

    assert [server.decide(one).answer.status for one in asked] == [200, 200, 403, 403]
    assert str(time.gmtime(now_s).tm_year).encode() in server.date_line()


def test_connections_are_broken_off_by_their_number() -> None:
    server = make_server(None, Fault("connect", times=2), Fault("handshake", times=1))
    made = [type(server.connect()) for _ in range(3)]

    assert made == [RefusedConnection, RefusedConnection, Connection]
    assert [server.breaks_handshake() for _ in range(2)] == [True, False]
    assert [record.fault for record in RequestLog.load(server.log.dump())] == ["connect", "connect", "handshake"]
    assert server.figures().in_flight == 0


def test_a_fault_of_connections_meets_no_request() -> None:
    assert make_server(None, Fault("connect")).decide(request("/bucket/a")).kind is None
