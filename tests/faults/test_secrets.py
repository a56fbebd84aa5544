"""Secrets show nowhere, whatever a server does: it may even send back all that it was sent."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, FileClient, Loader, RetryPolicy, S3Options
from asyncio_loader.errors import LoaderError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.options import Transport
from asyncio_loader.stores.retry import retry_calls
from asyncio_loader.stores.s3.store import S3Store
from tests.leaks import MARK

SECRET, TOKEN = f"a-secret-{MARK}", f"a-token-{MARK}"

# By key: the status, the code of the document.
ANSWERS = {
    "good": (200, ""),
    "expired": (400, "ExpiredToken"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "unsigned": (403, "SignatureDoesNotMatch"),
    "elsewhere": (301, "PermanentRedirect"),
    "missing": (404, "NoSuchKey"),
    "slow": (503, "SlowDown"),
    "broken": (500, "InternalError"),
    "odd": (418, "Teapot"),
    "no-http": (0, ""),
    "reset": (0, ""),
    "short": (200, ""),
}
TWICE = RetryPolicy(max_attempts=2, deadline_s=0.2, backoff_initial_s=0.0)


class Echo(BaseHTTPRequestHandler):
    """Repeats the request in whatever it answers: in the reason, in headers, in the document."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        key = self.path.partition("?")[0].rpartition("/")[2]
        status, code = ANSWERS.get(key, (400, "ExpiredToken"))
        sent = "".join(f"<{name}>{value}</{name}>" for name, value in self.headers.items())
        token = self.headers.get("x-amz-security-token", "")
        assert token == TOKEN
        if key == "no-http":
            self.wfile.write(f"SSH-2.0 {token}\r\n\r\n".encode())
            self.close_connection = True
            return
        if status == 0:
            self.close_connection = True
            return
        document = f"<Error><Code>{code}</Code><Token-0>{token}</Token-0>{sent}</Error>"
        body = b"data" if status == 200 else document.encode()
        self.send_response(status, f"you sent {token}")
        self.send_header("Content-Length", str(len(body) + (key == "short")))
        self.send_header("x-amz-echo", token)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    do_HEAD = do_DELETE = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is logged at DEBUG, by whomever, shows no secret either."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="botocore")
    yield
    texts = [record.getMessage() for record in caplog.get_records("call")]
    assert [text for text in texts if MARK in text] == []


def _renderings(thing: Any) -> Iterator[str]:
    """All that shows of a thing: as text, in a pickle for a worker, in a copy, in its attributes."""
    yield repr(thing)
    yield str(thing)
    if isinstance(thing, BaseException):
        yield "".join(traceback.format_exception(thing))
        chained: BaseException | None = thing
        while chained is not None:
            yield repr(vars(chained))
            chained = chained.__cause__ if isinstance(chained.__cause__, LoaderError) else None
    else:
        yield repr(getattr(thing, "__dict__", ""))
    yield repr(pickle.dumps(thing))
    yield repr(bytes(ForkingPickler.dumps(thing)))
    yield repr(copy.copy(thing))


def _assert_silent(things: list[Any]) -> None:
    shown = [(type(thing).__name__, text) for thing in things for text in _renderings(thing)]

    assert len(shown) >= 6 * len(things)
    assert [(name, text[:2000]) for name, text in shown if MARK in text] == []


@pytest.mark.parametrize("transport", ["http1", "aiohttp"])
def test_of_a_dataset_with_a_bad_server(endpoint: str, transport: Transport, tmp_path: Path) -> None:
    dataset = AsyncIterableDataset(
        [f"s3://bucket/{key}" for key in ANSWERS if key != "elsewhere"],
        options=FetchOptions(retry=TWICE),
        storage=S3Options(endpoint_url=endpoint, transport=transport),
        on_error="skip",
        max_failures=100,
        quarantine=tmp_path / "quarantine.jsonl",
    )
    iterator = iter(dataset)
    samples = list(iterator)

    assert [sample.ref.uri for sample in samples if isinstance(sample, Fetched)] == ["s3://bucket/good"]
    quarantined = (tmp_path / "quarantine.jsonl").read_text()
    assert quarantined.count("\n") == len(ANSWERS) - 2
    assert MARK not in quarantined
    assert MARK not in repr(iterator)
    _assert_silent([dataset, dataset.stats(), dataset.state_dict(), dataset.options, dataset.storage, *samples])


def test_of_the_error_of_a_loader(endpoint: str) -> None:
    dataset = AsyncIterableDataset(
        ["s3://bucket/expired"], options=FetchOptions(retry=TWICE), storage=S3Options(endpoint_url=endpoint)
    )
    with Loader(dataset, 1) as loader:
        with pytest.raises(LoaderError) as caught:
            list(loader)
        assert MARK not in repr(loader)

    _assert_silent([caught.value])


@pytest.mark.parametrize("transport", ["http1", "aiohttp"])
async def test_of_the_errors_of_a_store(endpoint: str, transport: Transport) -> None:
    store = S3Store(S3Options(endpoint_url=endpoint, transport=transport), timeouts=TWICE)
    errors = []

    for key in ANSWERS.keys() - {"good"}:
        uri = f"s3://bucket/{key}"
        with pytest.raises(LoaderError) as caught:
            await retry_calls(partial(store.get, uri), uri, retry=TWICE)
        errors.append(caught.value)
    for key in ("expired", "slow", "odd", "no-http"):
        uri = f"s3://bucket/{key}"
        for call in (partial(store.head, uri), partial(store.put, uri, b"data"), partial(store.get_range, uri, 0, 1)):
            with pytest.raises(LoaderError) as caught:
                await call()
            errors.append(caught.value)
    await store.aclose()

    _assert_silent(errors)


def _open_and_read(client: FileClient, uri: str) -> bytes:
    with client.open(uri, "rb") as file:
        return bytes(file.read())


@pytest.mark.parametrize("key", ["expired", "no-http"])
def test_of_a_file_client(endpoint: str, key: str) -> None:
    client = FileClient("aws", endpoint_url=endpoint)
    assert isinstance(client.client, AwsBackend)
    client.client._retry = TWICE
    uri = f"s3://bucket/{key}"
    errors = []

    for call in (
        lambda: client.get(uri),
        lambda: client.put(b"data", uri),
        lambda: client.remove(uri),
        lambda: client.isdir(uri),
        lambda: list(client.list_dir_or_file(uri)),
        lambda: _open_and_read(client, uri),
    ):
        with pytest.raises(LoaderError) as caught:
            call()
        errors.append(caught.value)

    assert MARK not in repr(client) + repr(client.client)
    _assert_silent(errors)


async def test_of_a_store_in_use(endpoint: str) -> None:
    store = S3Store(S3Options(endpoint_url=endpoint))
    assert bytes(await store.get("s3://bucket/good")) == b"data"
    parts = store._link.parts if store._link is not None else None
    assert parts is not None

    # Not what they hold inside, keys among it, but what shows of it.
    shown = [repr(part) + repr(vars(part)) for part in (parts.exchange, parts.reader, parts.writer, parts.admin)]
    shown += [repr(part) for part in vars(parts.exchange).values()]
    await store.aclose()

    assert [text for text in shown if MARK in text] == []
    _assert_silent([store])
