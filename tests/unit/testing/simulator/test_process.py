from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.testing import Fault, S3Simulator, Throttle
from asyncio_loader.testing.simulator import process as process_module


def fetch(simulator: S3Simulator, key: str) -> bytes:
    with urllib.request.urlopen(simulator.url(key), timeout=20) as answer:
        return answer.read()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_serves_what_it_was_given() -> None:
    with S3Simulator((key, key.encode() * 3) for key in ("a b", "ü/%+")) as simulator:
        assert fetch(simulator, "a b") == b"a ba ba b"
        assert fetch(simulator, "ü/%+") == "ü/%+".encode() * 3


def test_it_serves_a_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.jpg").write_bytes(b"picture")
    with S3Simulator(tmp_path, bucket="photos") as simulator:
        assert fetch(simulator, "sub/x.jpg") == b"picture"
        assert simulator.uri("sub/x.jpg") == "s3://photos/sub/x.jpg"


def test_a_client_of_aws_finds_its_way_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    with S3Simulator({f"a/{number:03}": b"x" * number for number in range(30)}) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        client = boto3.session.Session().client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix="a/", MaxKeys=7)
        sizes = [entry["Size"] for page in pages for entry in page["Contents"]]
        answer = client.get_object(Bucket="bucket", Key="a/007", Range="bytes=1-3")

        assert sizes == list(range(30))
        assert answer["Body"].read() == b"xxx"
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object(Bucket="bucket", Key="nothing")
        client.close()


def test_the_log_tells_what_was_asked() -> None:
    with S3Simulator({"a": b"12345"}) as simulator:
        fetch(simulator, "a")
        (record,) = simulator.requests(clear=True)

        assert (record.method, record.key, record.status, record.sent_bytes) == ("GET", "a", 200, 5)
        assert simulator.requests() == []


def test_the_same_seed_brings_the_same_weather() -> None:
    def measure(seed: int) -> list[float]:
        with S3Simulator({"a": b"x"}, median_s=0.02, p99_s=0.2, seed=seed) as simulator:
            for _ in range(5):
                fetch(simulator, "a")
            # Timers are late by a little, never early by more than uvloop's millisecond.
            return [round(record.answered_s - record.received_s, 2) for record in simulator.requests()]

    first, second = measure(1), measure(1)

    assert first == pytest.approx(second, abs=0.05)
    assert len(set(first)) > 1


def statuses(simulator: S3Simulator, count: int) -> list[int]:
    found = []
    for _ in range(count):
        try:
            fetch(simulator, "a")
            found.append(200)
        except urllib.error.HTTPError as error:
            error.close()
            found.append(error.code)
    return found


def test_the_throttle_can_be_changed_while_it_runs() -> None:
    with S3Simulator({"a": b"x"}, throttle=Throttle(per_second=0.001, burst=2)) as simulator:
        assert statuses(simulator, 3) == [200, 200, 503]
        simulator.set_throttle(Throttle(per_second=0.001, burst=1))
        assert statuses(simulator, 2) == [200, 503]
        simulator.set_throttle(None)
        assert statuses(simulator, 2) == [200, 200]
        figures = simulator.figures()

        assert (figures.requests, figures.throttled, figures.in_flight, figures.connections) == (7, 2, 0, 7)
        assert time.monotonic() - 20 < figures.now_s < time.monotonic()
        assert [record.fault for record in simulator.requests()].count("throttle") == 2


def test_faults_can_be_changed_while_it_runs() -> None:
    with S3Simulator({"a": b"x"}, faults=[Fault("status", times=1)]) as simulator:
        assert statuses(simulator, 2) == [503, 200]
        simulator.set_faults([Fault("status", status=500, times=1)])
        assert statuses(simulator, 2) == [500, 200]
        simulator.set_faults([])
        assert statuses(simulator, 1) == [200]


def test_the_bandwidth_is_that_of_all_connections_together() -> None:
    body = bytes(200_000)
    with S3Simulator({"a": body}, bandwidth_bytes_s=2e6) as simulator, ThreadPoolExecutor(4) as threads:
        started_s = time.monotonic()
        assert list(threads.map(lambda _: fetch(simulator, "a"), range(4))) == [body] * 4
        took_s = time.monotonic() - started_s
        simulator.set_bandwidth(None)

        # 800 KB at 2 MB/s, less what may go at once.
        assert took_s > 0.38
        assert [record.sent_bytes for record in simulator.requests()] == [200_000] * 4
        assert fetch(simulator, "a") == body


def test_two_may_share_a_port_at_different_addresses() -> None:
    with S3Simulator({"a": b"first"}) as first, S3Simulator({"a": b"2"}, host="127.0.0.2", port=first.port) as second:
        assert second.endpoint_url == f"http://127.0.0.2:{first.port}"
        assert (fetch(first, "a"), fetch(second, "a")) == (b"first", b"2")


def test_only_with_tls_there_is_an_authority() -> None:
    with S3Simulator({}) as simulator, pytest.raises(ConfigError, match="tls=True"):
        _ = simulator.ca_bundle
    with S3Simulator({}, tls=True) as simulator:
        bundle = Path(simulator.ca_bundle)
        assert b"BEGIN CERTIFICATE" in bundle.read_bytes()
        assert b"PRIVATE" not in bundle.read_bytes()
    assert not bundle.exists()


def test_it_is_gone_after_the_block() -> None:
    with S3Simulator({"a": b"x"}) as simulator:
        pid = simulator.pid

    assert not is_running(pid)
    with pytest.raises(ConfigError, match="not running"):
        simulator.requests()


def test_close_may_be_called_again() -> None:
    simulator = S3Simulator({"a": b"x"})
    simulator.close()
    simulator.start()
    simulator.close()
    simulator.close()

    with pytest.raises(ConfigError, match="make another one"):
        simulator.start()


def test_it_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with S3Simulator({"a": b"x"}) as simulator:
        assert list(tmp_path.iterdir()) == []
        assert fetch(simulator, "a") == b"x"


def test_objects_that_are_wrong_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigError, match="must be bytes"):
        S3Simulator({"a": "text"}).start()  # type: ignore[dict-item]

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_start_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = process_module._spawn

    def spawn_in_nowhere(directory: Path, stderr: int) -> Any:
        (directory / "table").write_text("no table")
        return spawn(directory, stderr)

    monkeypatch.setattr(process_module, "_spawn", spawn_in_nowhere)

    with pytest.raises(LoaderError, match=r"did not start: json.decoder.JSONDecodeError"):
        S3Simulator({"a": b"x"}).start()


@pytest.mark.parametrize("wrong", [{"bucket": "No_Bucket"}, {"median_s": -1}, {"p99_s": 1.0}, {"checksum": "md5"}])
def test_wrong_arguments_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        S3Simulator({}, **wrong)


SCRIPT = """
import os, sys, time
from asyncio_loader.testing import Fault, S3Simulator, Throttle
simulator = S3Simulator({"a": b"x"})
simulator.start()
if "fork" in sys.argv and os.fork() == 0:
    # A child that was forked holds the pipe to the simulator open.
    os.close(1)
    time.sleep(60)
print(simulator.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd_open")
@pytest.mark.parametrize("how", ["plain", "fork"])
def test_it_ends_with_a_parent_that_is_killed(how: str) -> None:
    command = [sys.executable, "-c", SCRIPT, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        deadline_s = time.monotonic() + 20
        while is_running(pid):
            assert time.monotonic() < deadline_s
        # Whatever was forked.
        try:
            os.killpg(parent.pid, signal.SIGKILL)
        except ProcessLookupError:
            assert how == "plain"
