"""botocore's client asks as our own requests do."""

from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.options import RetryPolicy
from tests.unit.stores.s3.conftest import Wire

ONCE = RetryPolicy(max_attempts=1)
GONE = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


async def test_anonymous_requests_are_not_signed(wire: Wire) -> None:
    await (await wire.answering(GONE, ONCE)).delete("s3://bucket/key")

    assert b"authorization" not in wire.heads[0].lower()


async def test_the_keys_are_those_of_the_other_requests(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(GONE)

    await wire.store(await wire.listen(script), ONCE, anonymous=False).delete("s3://bucket/key")

    assert b"Credential=AKIDENV/" in wire.heads[0]


@pytest.mark.usefixtures("_no_proxies")
async def test_the_proxy_is_that_of_the_other_requests(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(GONE)

    monkeypatch.setenv("HTTP_PROXY", await wire.listen(script))
    await wire.store("http://s3.invalid", ONCE).delete("s3://bucket/key")

    assert wire.heads[0].startswith(b"DELETE http://s3.invalid/bucket/key HTTP/1.1\r\n")


@pytest.mark.usefixtures("_no_proxies")
async def test_what_no_proxy_names_is_asked_directly(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    await (await wire.answering(GONE, ONCE)).delete("s3://bucket/key")

    assert wire.heads[0].startswith(b"DELETE /bucket/key HTTP/1.1\r\n")
