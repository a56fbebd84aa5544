"""`S3Store` puts its parts together when and where they are needed, and keeps secrets."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import traceback

import pytest

from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.options import RetryPolicy, S3Options
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


async def test_concurrent_first_calls_open_one_connection_pool(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.stores.s3 import store as store_module

    opened = []
    real = store_module.open_session
    monkeypatch.setattr(store_module, "open_session", lambda tls: opened.append(1) or real(tls))

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")

    store = wire.store(await wire.listen(script))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(store.get("s3://bucket/key"))

    assert len(opened) == 1


async def test_a_second_loop_at_the_same_time_is_refused(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    await store.get("s3://bucket/key")

    def use_elsewhere() -> None:
        asyncio.run(store.get("s3://bucket/key"))  # type: ignore[arg-type]

    with pytest.raises(LoaderError, match="one event loop at a time"):
        await asyncio.to_thread(use_elsewhere)


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
    signed = S3Store(S3Options(endpoint_url=store._options.endpoint_url), timeouts=RetryPolicy(max_attempts=1))
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
