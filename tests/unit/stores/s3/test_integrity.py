"""Bytes are compared with what S3 keeps of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
import threading
from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from asyncio_loader.errors import ChecksumMismatch, ConfigError, FetchError
from asyncio_loader.options import RetryPolicy, Verify
from asyncio_loader.records import Buffer
from asyncio_loader.stores import checksum as checksum_module
from asyncio_loader.stores.checksum import Checksum, begin_digest
from asyncio_loader.stores.retry import retry_calls
from asyncio_loader.stores.s3.http1 import Headers
from asyncio_loader.stores.s3.integrity import checksum_of, md5_of
from asyncio_loader.stores.s3.store import S3Store
from tests.unit.stores.s3.conftest import Wire

BODY = b"the bytes of an object"
URI = "s3://bucket/key"
ALGORITHMS = ("crc64nvme", "crc32c", "crc32", "sha1", "sha256")


def encode(algorithm: str, body: bytes = BODY) -> str:
    digest = begin_digest(algorithm)  # type: ignore[arg-type]
    assert digest is not None
    digest.update(body)
    return base64.b64encode(digest.digest()).decode()


def answer(headers: Mapping[str, str], body: bytes = BODY) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


async def open_store(wire: Wire, headers: Mapping[str, str], body: bytes = BODY, *, verify: Verify = "auto") -> S3Store:
    """A store that verifies so, whose server gives this answer on connections that stay open."""

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(headers, body))
        await writer.drain()

    return wire.store(await wire.listen(script), verify=verify)


# What heads tell.


CASES: list[tuple[dict[str, str], Checksum | None]] = [
    ({}, None),
    ({"x-amz-checksum-crc32": "AAAAAQ=="}, Checksum("crc32", b"\0\0\0\x01")),
    ({"X-Amz-Checksum-Crc32c": "AAAAAQ=="}, Checksum("crc32c", b"\0\0\0\x01")),
    ({"X-AMZ-CHECKSUM-SHA1": "AAE="}, Checksum("sha1", b"\0\x01")),
    ({"x-amz-checksum-sha256": "AAE=", "x-amz-checksum-type": "FULL_OBJECT"}, Checksum("sha256", b"\0\x01")),
    ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAE="}, Checksum("crc64nvme", bytes(7) + b"\x01")),
    ({"x-amz-checksum-sha256": "AAE=", "x-amz-checksum-crc32": "AAAAAQ=="}, Checksum("crc32", b"\0\0\0\x01")),
    ({"x-amz-checksum-crc32": "AAAAAQ==-3"}, None),
    ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-type": "COMPOSITE"}, None),
    ({"x-amz-checksum-crc32": "AAAAAQ==", "X-Amz-Checksum-Type": "composite"}, None),
    ({"x-amz-checksum-crc32": "*"}, None),
    ({"x-amz-checksum-crc32": "\xe9"}, None),
    ({"x-amz-checksum-crc32": ""}, Checksum("crc32", b"")),
    ({"x-amz-checksum-xxhash3": "AAAAAQ=="}, None),
    ({"x-amz-checksum-algorithm": "CRC32"}, None),
    ({"other": "x-amz-checksum-crc32: AAAAAQ=="}, None),
]


@pytest.mark.parametrize(("headers", "checksum"), CASES)
def test_the_checksum_of_the_whole_is_read(headers: dict[str, str], checksum: Checksum | None) -> None:
    lines = "".join(f"{name}: {value} \r\n" for name, value in headers.items()).encode("latin-1")

    assert [checksum_of(Headers(lines)), checksum_of(CIMultiDict(headers))] == [checksum, checksum]


@pytest.mark.parametrize(
    ("headers", "is_md5"),
    [
        ({}, True),
        ({"x-amz-server-side-encryption": "AES256"}, True),
        ({"x-amz-server-side-encryption": "aws:kms"}, False),
        ({"x-amz-server-side-encryption": "aws:kms:dsse"}, False),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, False),
        ({"etag": f'"{"0" * 32}-2"'}, False),
        ({"etag": f'W/"{"0" * 32}"'}, False),
        ({"etag": "0" * 32}, False),
        ({"etag": '"v1"'}, False),
    ],
)
def test_an_etag_is_an_md5_or_is_not(headers: dict[str, str], is_md5: bool) -> None:
    found = md5_of(CIMultiDict({"etag": f'"{"0" * 32}"', **headers}))

    assert found == (Checksum("md5", bytes(16)) if is_md5 else None)


# What is asked for.


@pytest.mark.parametrize(("verify", "is_asked"), [("auto", True), ("always", True), ("never", False)])
async def test_s3_is_asked_for_it_and_the_request_says_so_signed(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, verify: Verify, is_asked: bool
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    anonymous = await open_store(wire, {"x-amz-checksum-crc32": encode("crc32")}, verify=verify)
    signed = wire.store(wire.urls[0], verify=verify, anonymous=False, region_name="eu-west-1")
    for store in (anonymous, signed, signed):
        assert await store.get(URI) == BODY

    heads = [head.lower() for head in wire.heads]
    assert [b"\r\nx-amz-checksum-mode: enabled\r\n" in head for head in heads] == [is_asked] * 3
    names = re.findall(rb"signedheaders=([^,]*)", b"".join(heads))
    assert [b"x-amz-checksum-mode" in name.split(b";") for name in names] == [is_asked] * 2


# What is compared.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_right_bytes_come_and_others_do_not(wire: Wire, algorithm: str) -> None:
    headers = {f"x-amz-checksum-{algorithm}": encode(algorithm)}
    right, wrong = await open_store(wire, headers), await open_store(wire, headers, BODY[:-1] + b"!")

    assert await right.get(URI) == BODY
    with pytest.raises(ChecksumMismatch, match=f"{URI}: the bytes do not have the {algorithm}"):
        await wrong.get(URI)


@pytest.mark.parametrize("size_bytes", [0, 1, 5_000_000])
async def test_of_any_size(wire: Wire, size_bytes: int) -> None:
    body = bytes(size_bytes)
    headers = {"x-amz-checksum-sha256": encode("sha256", body)}
    right, wrong = await open_store(wire, headers, body), await open_store(wire, headers, body + b"!")

    assert await right.get(URI) == body
    with pytest.raises(ChecksumMismatch):
        await wrong.get(URI)


async def test_a_body_that_comes_in_chunks_is_compared(wire: Wire) -> None:
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-amz-checksum-crc32: {encode('crc32', b'hello')}\r\n\r\n"
    right = await wire.answering(head.encode() + b"5\r\nhello\r\n0\r\n\r\n")
    wrong = await wire.answering(head.encode() + b"5\r\nhallo\r\n0\r\n\r\n")

    assert await right.get(URI) == b"hello"
    with pytest.raises(ChecksumMismatch):
        await wrong.get(URI)


async def test_a_body_that_waited_for_the_window_is_compared(wire: Wire) -> None:
    store = await open_store(wire, {"x-amz-checksum-crc32": encode("crc32")}, b"other bytes of object.")

    async def admit(_: int) -> None:
        await asyncio.sleep(0)

    with pytest.raises(ChecksumMismatch):
        await store.get(URI, admit=admit)


async def test_a_large_body_is_compared_in_another_thread(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(3_000_000)
    threads: list[bool] = []
    matches = Checksum.matches

    def note_thread(checksum: Checksum, data: Buffer) -> bool:
        threads.append(threading.current_thread() is threading.main_thread())
        return matches(checksum, data)

    small = await open_store(wire, {"x-amz-checksum-crc32": encode("crc32")})
    large = await open_store(wire, {"x-amz-checksum-crc32": encode("crc32", body)}, body)
    monkeypatch.setattr(Checksum, "matches", note_thread)
    await small.get(URI)
    await large.get(URI)

    assert threads == [True, False]


async def test_other_bytes_end_their_connection_and_the_next_get_has_another(wire: Wire) -> None:
    headers = {"x-amz-checksum-crc32": encode("crc32")}
    ports: list[int] = []

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        # A connection that turns bytes round, among good ones.
        writer.write(answer(headers, BODY[::-1] if ports[-1] == ports[0] else BODY))
        await writer.drain()

    store = wire.store(await wire.listen(script))
    with pytest.raises(ChecksumMismatch):
        await store.get(URI)
    for _ in range(3):
        assert await store.get(URI) == BODY

    assert ports[1:] == [ports[1]] * 3


async def test_a_broken_object_is_given_up_after_a_few_gets(wire: Wire) -> None:
    store = await open_store(wire, {"x-amz-checksum-crc32": encode("crc32")}, BODY[::-1])
    policy = RetryPolicy(checksum_attempts=3, backoff_initial_s=0.0)

    with pytest.raises(ChecksumMismatch, match="gave up after 3 attempts"):
        await retry_calls(lambda: store.get(URI), URI, retry=policy)
    assert len(wire.heads) == 3


# What cannot be compared.


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-checksum-crc32": "AAAAAQ==-3"},
        {"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-xxhash3": "AAAAAQ=="},
        {"ETag": f'"{"0" * 32}-3"'},
        {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"},
    ],
)
async def test_without_a_checksum_of_the_whole_it_comes_unless_it_must_be_compared(
    wire: Wire, headers: dict[str, str]
) -> None:
    auto, always = await open_store(wire, headers), await open_store(wire, headers, verify="always")

    assert await auto.get(URI) == BODY
    with pytest.raises(FetchError, match=f'{URI}: verify="always", but') as caught:
        await always.get(URI)
    # Another GET would bring no checksum either.
    assert type(caught.value) is FetchError


@pytest.mark.parametrize("is_right", [True, False])
async def test_an_md5_counts_where_it_must_be_compared(wire: Wire, is_right: bool) -> None:
    headers = {"ETag": f'"{hashlib.md5(BODY if is_right else b"").hexdigest()}"'}
    auto, always = await open_store(wire, headers), await open_store(wire, headers, verify="always")

    assert await auto.get(URI) == BODY
    if is_right:
        assert await always.get(URI) == BODY
    else:
        with pytest.raises(ChecksumMismatch, match="md5"):
            await always.get(URI)


async def test_never_is_never(wire: Wire) -> None:
    store = await open_store(wire, {"x-amz-checksum-crc32": "AAAAAA=="}, verify="never")

    assert await store.get(URI) == BODY


async def test_without_the_package_it_comes_unless_it_must_be_compared(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAE="}
    auto, always = await open_store(wire, headers), await open_store(wire, headers, verify="always")
    checksum_module._find_crc.cache_clear()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "awscrt.checksums", None)
        assert await auto.get(URI) == BODY
        with pytest.raises(ConfigError, match="needs awscrt for crc64nvme: pip install awscrt"):
            await always.get(URI)
    checksum_module._find_crc.cache_clear()
