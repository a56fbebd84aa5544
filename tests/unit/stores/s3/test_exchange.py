"""A request that is refused for its time or its keys is signed anew: GET, HEAD, PUT and what botocore sends."""

from __future__ import annotations

import asyncio
import calendar
import logging
import re
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from asyncio_loader.errors import AccessDenied, FetchError, Throttled
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.retry import retry_calls
from asyncio_loader.stores.s3 import client as client_module
from asyncio_loader.stores.s3 import clock as clock_module
from asyncio_loader.stores.s3 import credentials as credentials_module
from asyncio_loader.stores.s3 import exchange as exchange_module
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import RcloneServer
from tests.unit.stores.s3.conftest import Wire

URI = "s3://bucket/key"
ONCE = RetryPolicy(max_attempts=1)
LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"

_SIGNED = re.compile(rb"x-amz-date: *([0-9]{8}T[0-9]{6}Z)", re.IGNORECASE)


def _answer(status: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(b"%b\r\n" % header for header in headers)
    return b'HTTP/1.1 %b\r\nContent-Length: %d\r\nETag: "e"\r\n%b\r\n%b' % (status, len(body), lines, body)


class Service:
    """An S3 that looks at who asks and when.

    Attributes:
        ahead_s: its clock minus this machine's.
        is_dated: its answers have a Date.
        token: what alone it takes; None: any.
        refused: how many requests it has.
    """

    def __init__(self, *, ahead_s: float = 0.0, is_dated: bool = True, token: bytes | None = None) -> None:
        self.ahead_s = ahead_s
        self.is_dated = is_dated
        self.token = token
        self.refused = 0

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
        if length and head.startswith(b"PUT"):
            # `Wire.listen` reads heads alone; a PUT of these tests has no body.
            assert int(length[1]) == 0
        answer = self._refusal(head) or _answer(b"200 OK", LISTING)
        is_head = head.startswith(b"HEAD")
        writer.write(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if is_head else answer)

    def _refusal(self, head: bytes) -> bytes | None:
        now_s = time.time() + self.ahead_s
        date = [b"Date: %b" % formatdate(now_s, usegmt=True).encode()] if self.is_dated else []
        signed = _SIGNED.search(head)
        assert signed is not None
        signed_s = calendar.timegm(time.strptime(signed[1].decode(), "%Y%m%dT%H%M%SZ"))
        if abs(signed_s - now_s) > 900:
            self.refused += 1
            return _answer(b"403 Forbidden", b"<Error><Code>RequestTimeTooSkewed</Code></Error>", *date)
        if self.token is not None and self.token not in head:
            self.refused += 1
            return _answer(b"400 Bad Request", b"<Error><Code>ExpiredToken</Code></Error>", *date)
        return None


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "token-0")


async def _open(wire: Wire, service: Service) -> S3Store:
    return wire.store(await wire.listen(service), ONCE, anonymous=False)


async def _list(store: S3Store) -> None:
    assert [entry async for entry in store.list("s3://bucket/")] == []


CALLS = {
    "get": lambda store: store.get(URI),
    "get_range": lambda store: store.get_range(URI, 0, 10),
    "head": lambda store: store.head(URI),
    "put": lambda store: store.put(URI, b""),
    "list": _list,
    "delete": lambda store: store.delete(URI),
    "has_object": lambda store: store.has_object(URI),
}
each_call = pytest.mark.parametrize("name", CALLS)


@each_call
@pytest.mark.parametrize("ahead_s", [3600.0, -7200.0])
async def test_a_wrong_clock_costs_one_request(wire: Wire, name: str, ahead_s: float) -> None:
    service = Service(ahead_s=ahead_s)
    store = await _open(wire, service)

    for _ in range(3):
        await CALLS[name](store)

    assert service.refused == 1


class _Slow:
    """`time`, an hour ago."""

    gmtime, strftime = time.gmtime, time.strftime

    @staticmethod
    def time() -> float:
        return time.time() - 3600


@pytest.mark.parametrize("first", ["create_bucket", "put"])
async def test_a_server_that_verifies_signatures_takes_those_of_the_corrected_time(
    rclone_environ: RcloneServer, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    bucket = f"s3://clock-{first.replace('_', '-')}"
    if first == "put":
        with_right_clock = S3Store()
        await with_right_clock.create_bucket(bucket)
        await with_right_clock.aclose()
    for module in (clock_module, client_module, exchange_module):
        monkeypatch.setattr(module, "time", _Slow)
    store = S3Store()

    if first == "create_bucket":
        await store.create_bucket(bucket)
    await store.put(f"{bucket}/key", b"data")
    data = bytes(await store.get(f"{bucket}/key"))
    await store.delete(f"{bucket}/key")
    await store.aclose()

    assert data == b"data"


async def test_one_correction_is_good_for_all_kinds_of_requests(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(ahead_s=3600)
    store = await _open(wire, service)

    for call in CALLS.values():
        await call(store)

    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert service.refused == 1
    assert re.search(r"clock is (3599|3600|3601) s behind", warning)


async def test_hundreds_that_are_refused_at_once_are_signed_anew_once(wire: Wire) -> None:
    service = Service(ahead_s=3600)
    store = await _open(wire, service)

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(store.get(URI))

    # As many as are in flight before the first answer.
    assert 1 <= service.refused <= 128
    assert len(wire.heads) == 200 + service.refused


@each_call
async def test_more_than_a_day_is_not_believed(wire: Wire, name: str) -> None:
    service = Service(ahead_s=90_000)
    store = await _open(wire, service)

    with pytest.raises(AccessDenied, match=r"clock|access denied"):
        await CALLS[name](store)

    assert service.refused == 1


async def test_without_a_date_nobody_knows_the_time(wire: Wire) -> None:
    service = Service(ahead_s=3600, is_dated=False)
    store = await _open(wire, service)

    with pytest.raises(AccessDenied, match=r"clock .* set the clock \(NTP\)"):
        await store.get(URI)

    assert service.refused == 1


async def test_anonymous_requests_are_not_sent_again(wire: Wire) -> None:
    body = b"<Error><Code>ExpiredToken</Code></Error>"
    answer = _answer(b"403 Forbidden", body, b"Date: Tue, 14 Nov 2023 22:13:20 GMT", b"Connection: close")
    store = await wire.answering(answer)

    with pytest.raises(AccessDenied):
        await store.get(URI)

    assert len(wire.heads) == 1


@each_call
async def test_an_expired_token_that_was_set_anew_meanwhile_is_mended(
    wire: Wire, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    store = await _open(wire, service)
    await CALLS[name](store)
    service.token = b"token-1"
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-1")

    for _ in range(3):
        await CALLS[name](store)

    assert service.refused == 1


@each_call
async def test_an_expired_token_without_another_is_final(wire: Wire, name: str) -> None:
    service = Service(token=b"token-1")
    store = await _open(wire, service)

    with pytest.raises(FetchError, match=r"HTTP 400") as caught:
        await CALLS[name](store)

    # botocore asks the bucket for its region where a HEAD of an object brings 400.
    assert service.refused == (2 if name == "has_object" else 1)
    if name not in ("head", "has_object"):
        assert type(caught.value) is AccessDenied
        assert "AWS_SESSION_TOKEN" in str(caught.value)


async def test_a_wrong_clock_and_an_expired_token_are_mended_together(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    store = await _open(wire, service)
    await store.get(URI)
    service.ahead_s, service.token = 3600, b"token-1"
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-1")

    await store.get(URI)

    assert service.refused == 2


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder: a command gives the token in its file ``token``, and fails without; ``calls`` has a line for each."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    script = tmp_path / "keys.py"
    script.write_text(
        "import json, pathlib\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "with open(folder / 'calls', 'a') as calls: calls.write('x')\n"
        "token = (folder / 'token').read_text()\n"
        "print(json.dumps(dict(Version=1, AccessKeyId='AKID', SecretAccessKey='x', SessionToken=token,"
        " Expiration='2100-01-01T00:00:00Z')))\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    (tmp_path / "token").write_text("token-0")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setattr(credentials_module, "_PAUSE_S", 60.0)
    monkeypatch.setattr(credentials_module, "_MOST_PAUSE_S", 60.0)
    return tmp_path


async def _settle(store: S3Store) -> str:
    try:
        await store.get(URI)
    except FetchError as error:
        return str(error)
    return ""


def _calls(vault: Path) -> int:
    return len((vault / "calls").read_text())


async def test_the_expiry_of_a_token_is_one_renewal_for_200_gets(wire: Wire, vault: Path) -> None:
    service = Service()
    store = await _open(wire, service)
    await store.get(URI)
    service.token = b"token-1"
    await asyncio.to_thread((vault / "token").write_text, "token-1")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_settle(store)) for _ in range(200)]

    assert {task.result() for task in tasks} == {""}
    assert _calls(vault) == 2
    assert 1 <= service.refused <= 128


async def test_a_renewal_that_fails_is_one_error_for_200_gets(wire: Wire, vault: Path) -> None:
    service = Service()
    store = await _open(wire, service)
    await store.get(URI)
    service.token = b"token-1"
    await asyncio.to_thread((vault / "token").unlink)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_settle(store)) for _ in range(200)]

    (text,) = {task.result() for task in tasks}
    assert "custom-process" in text
    assert _calls(vault) == 2


@pytest.mark.parametrize("status", [b"503 Slow Down", b"429 Too Many Requests", b"503 Service Unavailable"])
async def test_throttling_brings_what_the_server_said_of_the_time(wire: Wire, status: bytes) -> None:
    store = await wire.answering(_answer(status, b"", b"Retry-After: 7", b"Connection: close"))

    with pytest.raises(Throttled, match="none for 7 s") as caught:
        await store.get(URI)

    assert caught.value.retry_after_s == 7.0


async def test_a_server_that_asks_for_less_is_given_time(wire: Wire) -> None:
    pauses = []

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        is_third = len(wire.heads) == 3
        writer.write(_answer(b"200 OK", b"data") if is_third else _answer(b"503 Slow Down", b"", b"Retry-After: 0"))

    store = wire.store(await wire.listen(script))
    retry = RetryPolicy(max_attempts=2, backoff_initial_s=0.0, throttle_backoff_max_s=0.0)
    data, attempts = await retry_calls(
        lambda: store.get(URI),
        URI,
        retry=retry,
        on_retry=lambda error, _, pause_s: pauses.append((type(error), pause_s)),
    )

    assert (bytes(data), attempts) == (b"data", 3)
    assert [kind for kind, _ in pauses] == [Throttled] * 2
    assert all(0 <= pause_s <= 0.05 for _, pause_s in pauses)
