"""What S3 or we refuse: one clear line each, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import AccessDenied, ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.testing.servers import MotoServer

MIB = 1024 * 1024
LARGE = bytes(17 * MIB)


class _ReadOnly(BaseHTTPRequestHandler):
    """A bucket where reading is allowed and nothing else."""

    protocol_version = "HTTP/1.1"

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_DELETE = _refuse  # noqa: N815  # names of the standard library

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileClient]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), _ReadOnly) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = FileClient("aws", endpoint_url=f"http://127.0.0.1:{server.server_port}")
        yield client
        client.client.close()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def _write(client: FileClient, uri: str, data: bytes) -> None:
    with client.open(uri, "wb") as file:
        file.write(data)


def _is_one_line(error: LoaderError, *words: str) -> bool:
    return "\n" not in str(error) and all(word in str(error) for word in words)


@pytest.mark.parametrize("data", [b"1", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("write", [lambda client, uri, data: client.put(data, uri), _write], ids=["put", "open"])
def test_a_put_without_permission_says_so(read_only: FileClient, write: object, data: bytes) -> None:
    with pytest.raises(AccessDenied) as caught:
        write(read_only, "s3://bucket/run/epoch_1.pth", data)  # type: ignore[operator]

    assert _is_one_line(caught.value, "s3://bucket/run/epoch_1.pth", "403 AccessDenied", "s3:PutObject")
    assert "the-secret" not in str(caught.value)


def test_a_remove_without_permission_says_so(read_only: FileClient) -> None:
    with pytest.raises(AccessDenied) as caught:
        read_only.remove("s3://bucket/a")

    assert _is_one_line(caught.value, "s3://bucket/a", "403 AccessDenied")


@pytest.mark.parametrize("data", [b"1", LARGE], ids=["small", "large"])
def test_a_bucket_that_is_not_there_is_named(moto_environ: MotoServer, data: bytes) -> None:
    for write in (lambda: FileClient("aws").put(data, "s3://no-such-bucket/a"), lambda: _write_missing(data)):
        with pytest.raises(ObjectNotFound) as caught:
            write()

        assert _is_one_line(caught.value, "s3://no-such-bucket/a", "no such bucket")


def _write_missing(data: bytes) -> None:
    _write(FileClient("aws"), "s3://no-such-bucket/a", data)


@pytest.mark.parametrize("key", ["k" * 1025, "é" * 512 + "k"])
def test_a_key_that_is_too_long_is_refused(moto_environ: MotoServer, key: str) -> None:
    for call in (lambda uri: FileClient("aws").put(b"", uri), FileClient("aws").get):
        with pytest.raises(ConfigError) as caught:
            call(f"s3://files/{key}")

        assert _is_one_line(caught.value, "1025", "1,024") or _is_one_line(caught.value, "1025", "1024")


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://b/key", "s3://no bucket/key"])
@pytest.mark.parametrize("method", ["get", "isfile", "isdir", "remove"])
def test_a_uri_without_a_possible_bucket_is_refused(moto_environ: MotoServer, uri: str, method: str) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(FileClient("aws"), method)(uri)

    assert _is_one_line(caught.value, uri.rstrip("/"))


def test_a_bucket_is_no_file_to_write(moto_environ: MotoServer) -> None:
    with pytest.raises(ConfigError, match="names a bucket, not an object"):
        FileClient("aws").put(b"", "s3://files")
