"""What every test rests on: no AWS configuration of the user's, and real S3 servers on loopback for those that ask."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.testing.servers import MotoServer, RcloneServer
from tests import leaks


def pytest_configure(config: pytest.Config) -> None:
    leaks.install(config)


@pytest.fixture(scope="session", autouse=True)
def _secrets_show_in_no_file(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytestconfig.stash[leaks.SCAN].folder = tmp_path_factory.getbasetemp()


@pytest.fixture(autouse=True)
def _no_file_clients_left() -> Iterator[None]:
    """Clients are kept for the life of a process, with the endpoint and keys of the environment they first saw."""
    yield
    clients = list(FileClient._instances.values())
    FileClient._instances.clear()
    for client in clients:
        if isinstance(client.client, AwsBackend):
            client.client.close()


@pytest.fixture(autouse=True)
def _no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.getbasetemp() / "no-aws"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """moto for the whole session; a test takes a bucket name of its own."""
    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    """rclone for the whole session: it refuses wrong signatures. Buckets as with moto."""
    with RcloneServer(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture
def moto_environ(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> MotoServer:
    """moto as this process's S3, by the environment."""
    for name, value in moto_server.environ.items():
        monkeypatch.setenv(name, value)
    return moto_server


@pytest.fixture
def rclone_environ(rclone_server: RcloneServer, monkeypatch: pytest.MonkeyPatch) -> RcloneServer:
    """rclone as this process's S3, by the environment."""
    for name, value in rclone_server.environ.items():
        monkeypatch.setenv(name, value)
    return rclone_server


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """Python's own handler, also where the parent ignores SIGINT (as a shell does for a job in the background)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
