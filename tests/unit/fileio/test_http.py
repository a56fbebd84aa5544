"""Files on the web, from a server on loopback that answers as told."""

from __future__ import annotations

import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asyncio_loader.errors import (
    AccessDenied,
    ConfigError,
    ConnectionLost,
    FetchError,
    FetchTimeout,
    ObjectNotFound,
    ServerFault,
    ShortRead,
    Throttled,
)
from asyncio_loader.fileio.http import HttpBackend


class _Handler(BaseHTTPRequestHandler):
    """``/200/…`` answers, ``/404`` refuses, ``/to?URL`` redirects, ``/short`` announces too much, ``/mute`` waits."""

    def do_GET(self) -> None:
        what = self.path.split("/")[1]
        if what == "mute":
            self.server.end.wait()  # type: ignore[attr-defined]
        elif what.startswith("to?"):
            self._answer(302, b"", Location=self.path.partition("?")[2])
        elif what == "short":
            self._answer(200, b"12", **{"Content-Length": "5"})
        else:
            self._answer(int(what.partition("?")[0]), b"content")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.end = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.end.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_it_gets_bytes_and_text(url: str) -> None:
    assert HttpBackend().get(f"{url}/200") == b"content"
    assert HttpBackend().get_text(f"{url}/200") == "content"


def test_it_opens_to_read(url: str) -> None:
    with HttpBackend().open(f"{url}/200") as file:
        assert (file.read(3), file.seek(0), file.read()) == (b"con", 0, b"content")


def test_a_local_path_has_content_and_extension_and_goes(url: str) -> None:
    with HttpBackend().get_local_path(f"{url}/200/weights.pth?version=1") as path:
        assert path.endswith(".pth")
        assert Path(path).read_bytes() == b"content"

    assert not os.path.exists(path)


def test_it_follows_redirects_within_http(url: str) -> None:
    assert HttpBackend().get(f"{url}/to?{url}/200") == b"content"


def test_a_redirect_leads_to_no_local_file(url: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")

    with pytest.raises(FetchError):
        HttpBackend().get(f"{url}/to?file://{tmp_path}/secret")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FetchError),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, ObjectNotFound),
        (410, ObjectNotFound),
        (429, Throttled),
        (500, ServerFault),
        (503, Throttled),
    ],
)
def test_a_refusal_says_what_it_is(url: str, status: int, kind: type[FetchError]) -> None:
    with pytest.raises(FetchError, match=f"{url}/{status}: HTTP {status}") as caught:
        HttpBackend().get(f"{url}/{status}")

    assert type(caught.value) is kind


def test_no_error_holds_the_query_of_a_url(url: str) -> None:
    with pytest.raises(ObjectNotFound) as caught:
        HttpBackend().get(f"{url}/404?signature=secret")

    assert "secret" not in f"{caught.value} {caught.value.key}"


@pytest.mark.parametrize("path", ["/200/a b\x7f.pth", "/200/\u00e4.jpg", "/200/%C3%A4%20.jpg"])
def test_what_a_url_may_not_hold_is_encoded(url: str, path: str) -> None:
    assert HttpBackend().get(f"{url}{path}?name=a b\u00e4") == b"content"


def test_a_port_and_an_address_in_brackets_stay() -> None:
    with pytest.raises(ConnectionLost, match=re.escape("http://[::1]:1/a: ")):
        HttpBackend().get("http://[::1]:1/a")


SECRET_URLS = [
    "http://user:hid/den@127.0.0.1:1/x",
    "http://user:hidden@127.0.0.1:1/x",
    "http://user:hidden@[::1/x",
    "http://[::1/x?signature=hidden",
    "http://ho\u2100st/x?signature=hidden",
    "http://ho st/x?signature=hidden",
    f"http://{'a' * 70}.b/x?signature=hidden",
    "http://127.0.0.1:99999/x?signature=hidden",
]


@pytest.mark.parametrize("bad", SECRET_URLS)
@pytest.mark.parametrize("method", ["get", "get_local_path"])
def test_a_url_that_is_refused_is_told_without_its_secrets(method: str, bad: str) -> None:
    with pytest.raises(ConfigError) as caught, ExitStack() as stack:
        (HttpBackend().get if method == "get" else _enter(stack))(bad)

    assert _secrets_in(caught.value) == []


@pytest.mark.parametrize("target", ["file:///x?signature=hidden", "http://ho\tst\x7f/x?signature=hidden"])
def test_a_redirect_that_fails_is_told_without_its_secrets(url: str, target: str) -> None:
    with pytest.raises(FetchError) as caught:
        HttpBackend().get(f"{url}/to?{target}")

    assert _secrets_in(caught.value) == []


def _enter(stack: ExitStack) -> Callable[[str], str]:
    return lambda url: stack.enter_context(HttpBackend().get_local_path(url))


def _secrets_in(error: BaseException) -> list[str]:
    """The lines of a traceback that show a secret, but for those of source code."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return [line for line in lines if re.search("hidden|hid/|den@", line) and not line.startswith("    ")]


def test_a_short_body_is_no_content(url: str) -> None:
    with pytest.raises(ShortRead):
        HttpBackend().get(f"{url}/short")
    with pytest.raises(ShortRead), HttpBackend().get_local_path(f"{url}/short"):
        pass


def test_a_silent_server_is_left(url: str) -> None:
    with pytest.raises(FetchTimeout, match="timeout_s"):
        HttpBackend(timeout_s=0.05).get(f"{url}/mute")


def test_nobody_there_is_a_lost_connection() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        with pytest.raises(ConnectionLost, match=f"http://127.0.0.1:{port}/a: "):
            HttpBackend().get(f"http://127.0.0.1:{port}/a")


@pytest.mark.parametrize(
    "url", ["file:///etc/hosts", "ftp://host/a", "data:,x", "http:///a", "http://host:port/a", "a", "http://u@host/a"]
)
def test_what_is_not_on_the_web_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        HttpBackend().get(url)


@pytest.mark.parametrize("timeout_s", [0, -1, "5", True, None])
def test_a_timeout_is_a_number_of_seconds(timeout_s: object) -> None:
    with pytest.raises(ConfigError, match=r"HttpBackend\.timeout_s must be"):
        HttpBackend(timeout_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["put", "remove", "exists", "isfile", "isdir"])
def test_it_only_reads(method: str) -> None:
    with pytest.raises(NotImplementedError, match="HttpBackend cannot"):
        getattr(HttpBackend(), method)(*[b"", "http://host/a"][method != "put" :])
