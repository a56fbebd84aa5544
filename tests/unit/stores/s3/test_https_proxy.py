"""https through a proxy: a tunnel of CONNECT, for our requests and for botocore's."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.errors import AccessDenied, ConnectionLost, FetchError, FetchTimeout, ServerFault
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing import S3Simulator
from asyncio_loader.testing.servers import RcloneServer
from asyncio_loader.testing.simulator.tls import AUTHORITY_FILE, write_authority
from tests.unit.stores.s3.tunnel import ConnectProxy, in_tls_before

pytestmark = pytest.mark.usefixtures("_no_proxies")

BUCKET = "s3://behind-a-tunnel"
URI = f"{BUCKET}/a b+c.jpg"
DATA = bytes(range(256)) * 2048  # larger than the buffers of a connection
KEYS = "us er:p@ss/NeverShownByProxy"
WRONG = "us er:wrongNeverShownByProxy"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Its certificate; the server's is for ``s3.test``, a name that only the proxy finds."""
    write_authority(tmp_path, "127.0.0.1")
    return tmp_path / AUTHORITY_FILE


@pytest.fixture
def server_tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.with_name("server.pem"))
    return context


@pytest.fixture
async def port(
    rclone_environ: RcloneServer, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[int]:
    """rclone, which verifies signatures, behind TLS."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    async with in_tls_before(int(rclone_environ.endpoint_url.rpartition(":")[2]), server_tls) as port:
        yield port


@pytest.fixture
async def stores(port: int, authority: Path) -> AsyncIterator[Callable[..., S3Store]]:
    """Makes stores whose endpoint the proxy alone can find, closed at the end."""
    made: list[S3Store] = []

    def make(**retry: float) -> S3Store:
        policy = RetryPolicy(**{"max_attempts": 2, "backoff_initial_s": 0.001, "backoff_max_s": 0.001, **retry})  # type: ignore[arg-type]
        store = S3Store(S3Options(endpoint_url=f"https://s3.test:{port}", ca_bundle=str(authority)), timeouts=policy)
        made.append(store)
        return store

    yield make
    for store in made:
        await store.aclose()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Name a proxy in the environment."""

    def name(proxy: ConnectProxy, keys: str | None = None, scheme: str = "http") -> None:
        user = "" if keys is None else f"{':'.join(quote(part, safe='') for part in keys.split(':'))}@"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{user}{proxy.address}")

    return name


async def _list(store: S3Store) -> list[str]:
    return [entry.uri async for entry in store.list(f"{BUCKET}/")]


CALLS: dict[str, Callable[[S3Store], Awaitable[object]]] = {
    "get": lambda store: store.get(URI),
    "put": lambda store: store.put(URI, DATA),
    "list": _list,
    "delete": lambda store: store.delete(URI),
}


def shown(error: BaseException) -> str:
    """All that a log or a terminal may show of it."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("keys", [None, KEYS])
async def test_all_requests_go_through_the_tunnel(
    scheme: str,
    keys: str | None,
    port: int,
    stores: Callable[..., S3Store],
    use: Callable[..., None],
    server_tls: ssl.SSLContext,
) -> None:
    async with ConnectProxy(keys=keys, tls=server_tls if scheme == "https" else None) as proxy:
        use(proxy, keys, scheme)
        store = stores()
        await store.create_bucket(BUCKET)
        await store.put(URI, DATA)
        # rclone verifies the signatures.
        got = [bytes(await store.get(URI)) for _ in range(3)]
        listed = await _list(store)
        await store.delete(URI)

        assert got == [DATA] * 3
        assert listed == [URI]
        # Tunnels are kept, those of ours and those of botocore: there were seven requests.
        assert proxy.asked in ([f"s3.test:{port}"] * 2, [f"s3.test:{port}"] * 3)
        # What the proxy sees is TLS: neither keys of objects nor signatures.
        assert len(proxy.carried) > len(DATA)
        assert all(word not in proxy.carried for word in (b"behind-a-tunnel", b"AWS4-HMAC", DATA[:64]))


@pytest.mark.parametrize("call", CALLS)
async def test_wrong_credentials_are_final_and_not_shown(
    call: str, port: int, stores: Callable[..., S3Store], use: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with ConnectProxy(keys=KEYS) as proxy:
        use(proxy, WRONG)
        with pytest.raises(AccessDenied) as caught:
            await CALLS[call](stores())

        assert (
            f"the proxy to https://s3.test:{port} wants other credentials (HTTP 407);"
            " look at user and password in HTTPS_PROXY" in str(caught.value)
        )
        said = shown(caught.value) + caplog.text
        assert "NeverShown" not in said
        assert b64encode(WRONG.encode()).decode() not in said


async def test_a_proxy_that_forbids_the_way_is_final(stores: Callable[..., S3Store], use: Callable[..., None]) -> None:
    async with ConnectProxy() as proxy:
        use(proxy)
        proxy.refusals = [b"HTTP/1.1 403 Forbidden\r\n\r\n"]

        with pytest.raises(AccessDenied, match=r"the proxy does not lead to .* \(HTTP 403\); look at HTTPS_PROXY"):
            await stores().get(URI)

        assert len(proxy.asked) == 1


async def test_a_tunnel_that_cannot_be_had_at_once_is_asked_for_again(
    stores: Callable[..., S3Store], use: Callable[..., None]
) -> None:
    async with ConnectProxy() as proxy:
        use(proxy)
        store = stores(max_attempts=4)
        await store.create_bucket(BUCKET)
        before = len(proxy.asked)
        proxy.refusals = [b"HTTP/1.1 503 Service Unavailable\r\n\r\n"] * 3

        await store.put(URI, DATA)

        assert len(proxy.asked) == before + 4
        assert await store.get(URI) == DATA


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
            ConnectionLost,
            "the proxy does not lead to {} (HTTP 502); look at",
        ),
        (b"it is not\r\n\r\n", ServerFault, "the answer of {} is not HTTP"),
        (b"", ConnectionLost, "{} closed the connection"),
    ],
)
async def test_what_is_no_tunnel_is_told(
    answer: bytes,
    kind: type[FetchError],
    said: str,
    port: int,
    stores: Callable[..., S3Store],
    use: Callable[..., None],
) -> None:
    async with ConnectProxy() as proxy:
        use(proxy)
        proxy.refusals = [answer]

        with pytest.raises(kind) as caught:
            await stores().get(URI)

        assert said.format(f"https://s3.test:{port}") in str(caught.value)


async def test_a_proxy_that_says_nothing_is_waited_for_as_for_a_connection(
    port: int, stores: Callable[..., S3Store], use: Callable[..., None]
) -> None:
    async with ConnectProxy() as proxy:
        use(proxy)
        proxy.is_silent = True

        with pytest.raises(FetchTimeout) as caught:
            await stores(max_attempts=1, connect_timeout_s=0.05).get(URI)

        assert f"no connection to https://s3.test:{port} through the proxy within 0.05 s" in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
async def test_a_proxy_that_has_gone_is_told(
    call: str, port: int, stores: Callable[..., S3Store], use: Callable[..., None]
) -> None:
    async with ConnectProxy(keys=KEYS) as proxy:
        use(proxy, KEYS)
        store = stores()
        await store.create_bucket(BUCKET)
        await store.put(URI, DATA)
        assert await store.get(URI) == DATA
        # With the tunnels that the store has kept.
        await proxy.stop()

        with pytest.raises(ConnectionLost) as caught:
            await CALLS[call](store)

        assert f"the proxy does not lead to https://s3.test:{port} (" in str(caught.value)
        assert "NeverShown" not in shown(caught.value)


async def test_a_loader_reads_through_the_tunnel(use: Callable[..., None]) -> None:
    objects = {f"{number:02}.bin": bytes([number]) * 50_000 for number in range(24)}
    with S3Simulator(objects, tls=True) as simulator:
        storage = S3Options(
            endpoint_url=f"https://s3.test:{simulator.endpoint_url.rpartition(':')[2]}",
            anonymous=True,
            ca_bundle=simulator.ca_bundle,
        )
        dataset = AsyncIterableDataset([f"s3://bucket/{key}" for key in objects], batch_size=4, storage=storage)

        def read() -> list[bytes]:
            with Loader(dataset, 4, threads=1) as loader:
                return [bytes(sample.data) for batch in loader for sample in batch]

        async with ConnectProxy(keys=KEYS) as proxy:
            use(proxy, KEYS)
            got = await asyncio.to_thread(read)

            assert got == list(objects.values())
            assert 1 <= len(proxy.asked) <= len(objects)
            assert b".bin" not in proxy.carried
