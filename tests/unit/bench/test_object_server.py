from __future__ import annotations

import ssl
import urllib.request
from importlib.util import find_spec

import pytest

from bench import object_server
from bench.object_server import ObjectServer, find_nginx, serve

OBJECTS = [("a/one.jpg", b"one"), ("a/two.jpg", b"two" * 1000)]
BYPASS_PROXIES = urllib.request.ProxyHandler({})


def read(url: str, context: ssl.SSLContext | None = None) -> bytes:
    opener = urllib.request.build_opener(BYPASS_PROXIES, urllib.request.HTTPSHandler(context=context))
    with opener.open(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body


def bodies(server: ObjectServer) -> list[bytes]:
    return [read(f"{server.http_url}/bucket/{key}") for key, _ in OBJECTS]


def test_without_nginx_it_is_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_server, "find_nginx", lambda: None)
    with serve(OBJECTS, tls=True) as server:
        assert bodies(server) == [body for _, body in OBJECTS]
        assert server.name.startswith("S3Simulator")
        assert server.https_url is None
        assert "TLS" in server.no_tls


@pytest.mark.skipif(find_nginx() is None, reason="needs nginx")
def test_nginx_serves_what_it_is_given() -> None:
    with serve(OBJECTS, tls=False) as server:
        assert bodies(server) == [body for _, body in OBJECTS]
        assert server.name.startswith("nginx/")
        assert server.https_url is None


@pytest.mark.skipif(find_nginx() is None or find_spec("trustme") is None, reason="needs nginx and trustme")
def test_nginx_speaks_tls_with_a_certificate_that_verifies() -> None:
    with serve(OBJECTS, tls=True) as server:
        context = ssl.create_default_context(cafile=server.ca_bundle)

        assert read(f"{server.https_url}/bucket/a/one.jpg", context) == b"one"


@pytest.mark.skipif(find_nginx() is None, reason="needs nginx")
def test_an_nginx_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_server, "_CONFIG", "nonsense {user}{directory}{http_port}{tls};")

    with pytest.raises(RuntimeError, match=r"nginx did not start: .*nonsense"), serve(OBJECTS, tls=False):
        pass
