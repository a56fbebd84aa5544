"""PUT as it goes over the wire."""

from __future__ import annotations

import asyncio
import hashlib
import re

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, ConnectionLost, FetchTimeout, ObjectNotFound, ServerFault
from asyncio_loader.options import RetryPolicy
from tests.unit.stores.s3.conftest import Wire

URI = "s3://bucket/a b"
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "tag"\r\n\r\n'
TWICE = RetryPolicy(max_attempts=2, backoff_initial_s=0.0)


def error(status: bytes, code: bytes) -> bytes:
    body = b"<Error><Code>%s</Code></Error>" % code
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


class Taker:
    """A server that reads whole requests and answers by a script.

    Attributes:
        heads: of the requests.
        bodies: of the requests.
        answers: one for each, the last one again and again; None: silence.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
                body = await reader.readexactly(length)
                self.heads.append(head)
                self.bodies.append(body)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer or b"")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("size_bytes", [0, 5, 300_000, 3_000_000])
async def test_a_body_goes_out_as_it_is(wire: Wire, size_bytes: int) -> None:
    taker = Taker(OK)
    data = bytes(range(250)) * (size_bytes // 250) + b"x" * (size_bytes % 250)

    await wire.store(await wire.serve(taker.serve)).put(URI, data)

    assert taker.bodies == [data]
    assert taker.heads[0].startswith(b"PUT /bucket/a%20b HTTP/1.1\r\n")
    names = {line.split(b":")[0].lower() for line in taker.heads[0].split(b"\r\n")[1:] if line}
    assert names == {b"host", b"content-length", b"accept-encoding", b"user-agent"}


async def test_the_signature_covers_the_body_over_http(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    taker = Taker(OK)

    await wire.store(await wire.serve(taker.serve), anonymous=False).put(URI, b"data")

    assert b"x-amz-content-sha256: " + hashlib.sha256(b"data").hexdigest().encode() in taker.heads[0]


async def test_a_part_has_number_and_upload_in_its_query(wire: Wire) -> None:
    taker = Taker(OK)

    etag = await wire.store(await wire.serve(taker.serve)).put_part(URI, "id/+=", 7, b"data")

    assert taker.heads[0].startswith(b"PUT /bucket/a%20b?partNumber=7&uploadId=id%2F%2B%3D HTTP/1.1\r\n")
    assert etag == '"tag"'


async def test_a_part_without_an_etag_is_a_fault(wire: Wire) -> None:
    store = wire.store(await wire.serve(Taker(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").serve))

    with pytest.raises(ServerFault, match=f"{URI}: the server took part 7 and gave no ETag"):
        await store.put_part(URI, "id", 7, b"data")


async def test_a_passing_fault_is_tried_again_with_the_whole_body(wire: Wire) -> None:
    taker = Taker(error(b"503 Slow Down", b"SlowDown"), OK)
    data = bytes(1_000_000)

    await wire.store(await wire.serve(taker.serve), TWICE).put_part(URI, "id", 1, data)

    assert taker.bodies == [data, data]


async def test_a_fault_that_stays_is_raised(wire: Wire) -> None:
    taker = Taker(error(b"500 Oops", b"InternalError"))

    with pytest.raises(ServerFault, match="gave up after 2 attempts"):
        await wire.store(await wire.serve(taker.serve), TWICE).put(URI, b"data")

    assert len(taker.bodies) == 2


async def test_a_put_makes_no_more_requests_than_the_policy_allows(wire: Wire) -> None:
    heads = []

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    with pytest.raises(ConnectionLost, match="gave up after 2 attempts"):
        await wire.store(await wire.serve(drop), TWICE).put(URI, b"")

    assert len(heads) == 2


async def test_all_parts_of_a_store_warn_once_of_the_same_fault(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    slow = error(b"503 Slow Down", b"SlowDown")
    store = wire.store(await wire.serve(Taker(slow, OK, slow, OK).serve), TWICE)

    for number in (1, 2):
        await store.put_part(URI, "id", number, b"data")

    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def test_no_permission_names_the_action(wire: Wire) -> None:
    taker = Taker(error(b"403 Forbidden", b"AccessDenied"))

    with pytest.raises(AccessDenied) as caught:
        await wire.store(await wire.serve(taker.serve)).put(URI, b"data")

    said = "s3://bucket/a b: access denied (HTTP 403 AccessDenied); the credentials may not do this (s3:PutObject)"
    assert str(caught.value) == said
    assert len(taker.bodies) == 1


async def test_a_bucket_that_is_not_there_is_called_one(wire: Wire) -> None:
    taker = Taker(error(b"404 Not Found", b"NoSuchBucket"))

    with pytest.raises(ObjectNotFound, match=r"no such bucket \(HTTP 404 NoSuchBucket\)"):
        await wire.store(await wire.serve(taker.serve)).put(URI, b"data")


async def test_a_refusal_before_the_body_is_through_is_understood(wire: Wire) -> None:
    store = await wire.answering(error(b"403 Forbidden", b"AccessDenied"), TWICE)

    # The server closes on the way: whether its answer is seen before that is a matter of luck.
    with pytest.raises((AccessDenied, ConnectionLost)):
        await store.put(URI, bytes(50_000_000)[: 5 * 1024 * 1024])


async def test_a_server_that_takes_nothing_times_out(wire: Wire) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    impatient = RetryPolicy(max_attempts=1, stall_timeout_s=0.2)
    store = wire.store(await wire.listen(script), impatient, part_size_bytes=200_000_000)

    with pytest.raises(FetchTimeout, match=r"no further byte taken by http.* within 0.2 s \(stall_timeout_s\)"):
        await store.put(URI, bytes(100_000_000))


async def test_a_silent_server_times_out_after_the_body(wire: Wire) -> None:
    impatient = RetryPolicy(max_attempts=1, first_byte_timeout_s=0.1)
    taker = Taker(None)

    with pytest.raises(FetchTimeout, match=r"no answer from .* \(first_byte_timeout_s\)"):
        await wire.store(await wire.serve(taker.serve), impatient).put(URI, b"data")

    assert taker.bodies == [b"data"]


async def test_a_lost_connection_is_made_anew(wire: Wire) -> None:
    taker = Taker(OK)
    store = wire.store(await wire.serve(taker.serve))
    await store.put(URI, b"first")
    taker.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", OK]
    await store.put(URI, b"second")
    await store.put(URI, b"third")

    assert taker.bodies == [b"first", b"second", b"third"]


@pytest.mark.parametrize("method", ["put", "get", "head", "delete", "create_upload"])
async def test_a_key_that_is_too_long_is_refused_before_the_request(wire: Wire, method: str) -> None:
    store = wire.store("http://127.0.0.1:1")
    uri = f"s3://bucket/{'é' * 512}x"

    with pytest.raises(ConfigError, match=r"the key has 1025 bytes of UTF-8, S3 takes no more than 1024"):
        await getattr(store, method)(uri, *([b""] if method == "put" else []))


async def test_a_header_that_cannot_be_sent_is_an_error_of_the_configuration(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As out of a file of variables with the line ends of another system.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "sekret\r")
    store = wire.store("http://127.0.0.1:1", anonymous=False)

    with pytest.raises(ConfigError, match="cannot be sent") as caught:
        await store.put(URI, b"data")

    assert "sekret" not in str(caught.value)
