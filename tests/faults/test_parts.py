"""Large objects over connections that fail: what a retry cures is not seen, and nothing is ever there by half."""

from __future__ import annotations

import asyncio
import random

import pytest

from asyncio_loader.engine.parts import PartReader, read_object
from asyncio_loader.errors import ObjectNotFound, ServerFault
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.stores.upload import PartWriter
from asyncio_loader.testing import Fault, S3Simulator
from asyncio_loader.testing.servers import RcloneServer

KIB = 1024
MIB = 1024 * 1024
LARGE = random.Random(0).randbytes(1_000_000)
SMALL = LARGE[: 64 * KIB]
IMPATIENT = RetryPolicy(backoff_initial_s=0.01, first_byte_timeout_s=0.3, stall_timeout_s=0.3)


async def read(simulator: S3Simulator, key: str, retry: RetryPolicy = IMPATIENT) -> bytes:
    store = S3Store(S3Options(endpoint_url=simulator.endpoint_url, anonymous=True), timeouts=retry)
    try:
        uri = simulator.uri(key)
        return bytes(await read_object(store, uri, retry=retry, part_bytes=64 * KIB, parts_in_flight=4))
    finally:
        await store.aclose()


@pytest.mark.parametrize("size_bytes", [0, 1, 64 * KIB])
async def test_what_fits_into_a_part_is_one_request(size_bytes: int) -> None:
    with S3Simulator({"a": SMALL[:size_bytes]}) as simulator:
        assert await read(simulator, "a") == SMALL[:size_bytes]
        assert [request.method for request in simulator.requests()] == ["GET"]


async def test_a_large_object_is_one_request_per_part_and_a_head() -> None:
    with S3Simulator({"a": LARGE}) as simulator:
        assert await read(simulator, "a") == LARGE
        requests = simulator.requests()

    ranges = {request.range for request in requests if request.method == "GET"}
    assert len(ranges) == len(requests) - 1 == 16
    assert sum(request.sent_bytes for request in requests) == len(LARGE)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=503, rate=0.3),
        Fault("reset", rate=0.3, after_bytes=1000),
        Fault("short", rate=0.3, after_bytes=1000),
        Fault("stall", rate=0.3),
    ],
    ids=lambda fault: fault.kind,
)
async def test_parts_that_fail_come_again(fault: Fault) -> None:
    with S3Simulator({"a": LARGE}, faults=[fault], seed=2) as simulator:
        assert await read(simulator, "a") == LARGE
        gets = [request for request in simulator.requests() if request.method == "GET"]

    # Only what failed was asked for again.
    failed = sum(request.fault is not None for request in gets)
    assert failed > 0
    assert len(gets) == 16 + failed


async def test_a_reader_meets_the_same_weather() -> None:
    with S3Simulator({"a": LARGE}, faults=[Fault("short", rate=0.3, after_bytes=1000)], seed=3) as simulator:
        store = S3Store(S3Options(endpoint_url=simulator.endpoint_url, anonymous=True), timeouts=IMPATIENT)
        reader = PartReader(store, simulator.uri("a"), retry=IMPATIENT, part_bytes=100_000, parts_in_flight=3)
        await reader.open()
        data = b"".join([bytes(await reader.part(number)) for number in range(10)])
        await reader.aclose()
        await store.aclose()

    assert data == LARGE


async def test_a_part_that_never_comes_is_raised() -> None:
    few = RetryPolicy(max_attempts=2, backoff_initial_s=0.01)
    with (
        S3Simulator({"a": LARGE}, faults=[Fault("status", status=500)]) as simulator,
        pytest.raises(ServerFault, match=r"s3://bucket/a: .*gave up after 2 attempts"),
    ):
        await read(simulator, "a", few)


async def test_an_upload_that_is_cancelled_leaves_no_parts_on_the_server(rclone_environ: RcloneServer) -> None:
    store = S3Store()
    uri = "s3://cancelled/a"
    await store.create_bucket(uri)
    opened: list[str] = []
    writer = PartWriter(store, uri, part_bytes=5 * MIB, parts_in_flight=2, on_open=opened.append)
    begun = asyncio.Event()

    async def write() -> None:
        while True:
            await writer.write(bytes(5 * MIB))
            if opened:
                begun.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        await begun.wait()
        task.cancel()
    await writer.abort()

    admin = (await store._parts()).admin
    uploads = await (await admin._open()).list_multipart_uploads(Bucket="cancelled")
    with pytest.raises(ObjectNotFound):
        await store.head(uri)
    await store.aclose()
    assert uploads.get("Uploads", []) == []
