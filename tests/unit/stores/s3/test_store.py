"""`S3Store` puts its parts together when and where they are needed, and keeps secrets."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
import traceback
from array import array

import pytest

from asyncio_loader.errors import ConfigError, FetchError, LoaderError
from asyncio_loader.options import MIB, RetryPolicy, S3Options
from asyncio_loader.stores.backoff import is_retryable
from asyncio_loader.stores.s3.store import S3Store
from tests.unit.stores.s3.conftest import Wire

SECRETS = ["the-secret-key", "the-session-token"]


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[0])
    monkeypatch.setenv("AWS_SESSION_TOKEN", SECRETS[1])


def test_making_one_looks_nothing_up() -> None:
    assert "no-such-profile" in repr(S3Store(S3Options(profile_name="no-such-profile")))


async def test_a_failed_look_up_is_not_kept(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(ConfigError):
        await store.get("s3://bucket/key")
    monkeypatch.delenv("AWS_PROFILE")

    assert await store.get("s3://bucket/key") == b"1"


async def test_concurrent_first_calls_make_one_client(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.stores.s3 import store as store_module

    opened = []
    real = store_module.Transports
    monkeypatch.setattr(store_module, "Transports", lambda *args: opened.append(1) or real(*args))

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")

    store = wire.store(await wire.listen(script))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(store.get("s3://bucket/key"))

    assert len(opened) == 1


async def test_closing_during_the_first_call_leaves_nothing_open(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.stores.s3 import store as store_module

    entered, go_on = threading.Event(), threading.Event()
    opened = []
    look_up, transports = store_module.resolve_site, store_module.Transports

    def look_up_slowly(options: S3Options) -> object:
        entered.set()
        go_on.wait()
        return look_up(options)

    monkeypatch.setattr(store_module, "resolve_site", look_up_slowly)
    monkeypatch.setattr(store_module, "Transports", lambda *args: opened.append(1) or transports(*args))
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1")

    first = asyncio.create_task(store.get("s3://bucket/key"))
    await asyncio.to_thread(entered.wait)
    async with asyncio.TaskGroup() as group:
        group.create_task(store.aclose())
        group.create_task(asyncio.to_thread(go_on.set))
    with pytest.raises(FetchError, match="the store was closed") as caught:
        await first

    assert opened == []
    assert not is_retryable(caught.value)
    assert await store.get("s3://bucket/key") == b"1"


async def test_a_second_loop_at_the_same_time_is_refused(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    await store.get("s3://bucket/key")

    async def use_elsewhere() -> None:
        await store.get("s3://bucket/key")

    with pytest.raises(LoaderError, match="one event loop at a time"):
        await asyncio.to_thread(asyncio.run, use_elsewhere())


def test_a_loop_that_is_gone_is_forgotten(moto_environ: object) -> None:
    store = S3Store()

    async def use() -> bool:
        found = await store.has_bucket("s3://no-such-bucket")
        # Left open on purpose, but for what would complain.
        assert store._link is not None
        await store._link.aclose()
        return found

    assert [asyncio.run(use()), asyncio.run(use())] == [False, False]


@pytest.mark.usefixtures("_keys")
async def test_secrets_show_nowhere(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="asyncio_loader")
    body = b"<Error><Code>ExpiredToken</Code><Token-0>the-session-token</Token-0></Error>"
    store = await wire.answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    signed = S3Store(S3Options(endpoint_url=store.found_options.endpoint_url), timeouts=RetryPolicy(max_attempts=1))
    shown = []

    for call in (signed.get, signed.head, signed.delete):
        with pytest.raises(LoaderError) as caught:
            await call("s3://bucket/key")
        shown += ["".join(traceback.format_exception(caught.value)), repr(vars(caught.value))]
        assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    assert signed._link is not None
    assert signed._link.parts is not None
    shown += [repr(signed), str(vars(signed)), repr(pickle.dumps(signed)), repr(vars(signed._link.parts.reader))]
    shown += [record.getMessage() for record in caplog.records]
    await signed.aclose()

    assert b"the-session-token" in wire.heads[0]
    assert [text for text in shown if any(secret in text for secret in SECRETS)] == []


@pytest.mark.usefixtures("_keys")
async def test_a_copy_has_options_and_no_connection(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    await store.get("s3://bucket/key")

    assert repr(copy.copy(store)) == repr(store)
    assert copy.copy(store)._link is None


async def test_what_fits_into_a_part_is_measured_in_bytes(wire: Wire) -> None:
    paths = []

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        paths.append(head.split()[:2])
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    store = wire.store(await wire.listen(script), part_size_bytes=5 * MIB)
    # 750,000 items of eight bytes: more than a part, though fewer items than a part has bytes.
    with pytest.raises(LoaderError):
        await store.put("s3://bucket/key", memoryview(array("d", bytes(6_000_000))))

    assert paths == [[b"POST", b"/bucket/key?uploads"]]
