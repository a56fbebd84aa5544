"""What all backends over stores do, on the one in memory; and reads in parts, on the simulator."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import ConfigError, ObjectChanged
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.fileio.memory import MemoryBackend
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.testing import S3Simulator

MIB = 1024 * 1024
LARGE = os.urandom(3 * 5 * MIB + 1)


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[MemoryBackend]:
    backend = MemoryBackend(path_mapping={"data": f"memory://objects/{request.node.name}"})
    yield backend
    backend.close()


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Simulator]:
    with S3Simulator({"large": LARGE}) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        yield simulator


@pytest.fixture
def aws(simulator: S3Simulator) -> Iterator[AwsBackend]:
    backend = AwsBackend(endpoint_url=simulator.endpoint_url, part_size_bytes=5 * MIB, parts_in_flight=2)
    yield backend
    backend.close()


def test_memory_is_that_of_the_process(memory: MemoryBackend) -> None:
    memory.put(b"1", "memory://objects/shared")
    other = MemoryBackend()

    assert other.get("memory://objects/shared") == b"1"
    assert "memory://objects/shared" in MemoryStore.process_wide()._objects
    other.close()


def test_a_uri_of_another_scheme_is_refused(memory: MemoryBackend) -> None:
    with pytest.raises(ConfigError, match="'s3://b/a' is neither memory://bucket/key nor mapped to it"):
        memory.get("s3://b/a")


def test_memory_notes_no_upload(memory: MemoryBackend, tmp_path: Path) -> None:
    with memory.open("data/large", "wb", journal=UploadJournal(tmp_path / "journal")) as file:
        file.write(LARGE)

    assert not (tmp_path / "journal").exists()
    assert memory.get("data/large") == LARGE


def test_an_open_file_is_of_one_version(memory: MemoryBackend) -> None:
    memory.put(bytes(40 * MIB), "data/a")

    def read() -> None:
        with memory.open("data/a") as file:
            file.read(1)
            memory.put(b"1" * 40 * MIB, "data/a")
            file.seek(-1, os.SEEK_END)
            file.read()

    with pytest.raises(ObjectChanged):
        read()


@pytest.mark.parametrize(
    "read",
    [
        lambda aws, uri: bytes(aws.get(uri)),
        lambda aws, uri: _read_open(aws, uri),
        lambda aws, uri: _read_copy(aws, uri),
    ],
    ids=["get", "open", "get_local_path"],
)
def test_a_large_object_is_read_part_by_part_and_once(
    simulator: S3Simulator, aws: AwsBackend, read: Callable[[AwsBackend, str], bytes]
) -> None:
    assert read(aws, simulator.uri("large")) == LARGE

    gets = [request for request in simulator.requests() if request.method == "GET"]
    assert [request.status for request in gets] == [206] * 4


def _read_open(aws: AwsBackend, uri: str) -> bytes:
    with aws.open(uri) as file:
        return file.read()


def _read_copy(aws: AwsBackend, uri: str) -> bytes:
    with aws.get_local_path(uri) as path:
        return Path(path).read_bytes()


def _read_in_child(uri: str, results: SimpleQueue[bytes]) -> None:
    client = FileClient.infer_client(uri=uri)
    with client.open(uri) as file:
        results.put(file.read(3))


def test_a_child_that_is_forked_in_the_middle_of_a_read_reads_for_itself(
    simulator: S3Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = simulator.uri("large")
    client = FileClient.infer_client(uri=uri)
    context = multiprocessing.get_context("fork")
    results: SimpleQueue[bytes] = context.SimpleQueue()

    with client.open(uri) as file:
        start = file.read(9 * MIB)
        child = context.Process(target=_read_in_child, args=(uri, results))
        child.start()
        from_child = results.get()
        child.join(10)
        rest = file.read()

    assert child.exitcode == 0
    assert from_child == LARGE[:3]
    assert start + rest == LARGE


def test_threads_read_different_files_at_the_same_time(simulator: S3Simulator, aws: AwsBackend) -> None:
    contents: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: contents.append(_read_open(aws, simulator.uri("large")))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert contents == [LARGE] * 4
