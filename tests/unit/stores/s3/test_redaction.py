"""botocore's log at DEBUG, without tokens."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator

import pytest

from asyncio_loader.errors import AccessDenied
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3 import redaction
from asyncio_loader.stores.s3.redaction import keep_out_of_logs
from tests.unit.stores.s3.conftest import Wire

TOKEN = "IQoJb3JpZ2luX2VjEA+/=="


@pytest.fixture
def _redacted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However often it is asked for; and no more after the test."""
    monkeypatch.setattr(redaction, "_tokens", deque(maxlen=2))
    for token in ("earlier", TOKEN, TOKEN):
        keep_out_of_logs(token)
    yield
    for name in redaction._LOGGERS:
        logging.getLogger(name).removeFilter(redaction._redact)


@pytest.mark.usefixtures("_redacted")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"host:h\nx-amz-security-token:{TOKEN}\n\nhost", "host:h\nx-amz-security-token:…\n\nhost"),
        (f"{{'X-Amz-Security-Token': b'{TOKEN}', 'A': b'b'}}", "{'X-Amz-Security-Token': b'…', 'A': b'b'}"),
        (f"b'<Token-0>{TOKEN}</Token-0><A>earlier</A>'", "b'<Token-0>…</Token-0><A>…</A>'"),
        ("nothing of that kind", "nothing of that kind"),
    ],
)
@pytest.mark.parametrize("name", redaction._LOGGERS)
def test_tokens_are_left_out(caplog: pytest.LogCaptureFixture, name: str, text: str, expected: str) -> None:
    caplog.set_level(logging.DEBUG)

    logging.getLogger(name).debug("it says %s", text)

    (record,) = caplog.records
    assert record.getMessage() == f"it says {expected}"


async def test_what_botocore_sends_and_gets_shows_no_token(
    wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, TOKEN if name == "AWS_SESSION_TOKEN" else f"hush-{name}")

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        body = b"<Error><Code>ExpiredToken</Code><Token-0>%b</Token-0></Error>" % TOKEN.encode()
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    store = wire.store(await wire.listen(script), RetryPolicy(max_attempts=1), anonymous=False)
    with pytest.raises(AccessDenied):
        await store.delete("s3://bucket/key")

    texts = [record.getMessage() for record in caplog.records]
    assert TOKEN.encode() in wire.heads[0]
    assert [text for text in texts if "Token-0" in text or "Security-Token" in text] != []
    assert [text for text in texts if TOKEN in text or "hush-AWS_SECRET" in text] == []


@pytest.mark.usefixtures("_redacted")
def test_of_many_tokens_the_last_ones_are_known() -> None:
    for token in ("one", "two", "three"):
        keep_out_of_logs(token)

    assert list(redaction._tokens) == ["two", "three"]


@pytest.mark.usefixtures("_redacted")
@pytest.mark.parametrize(("text", "is_left_out"), [(TOKEN, True), ("some", False)])
def test_a_traceback_that_shows_a_token_is_left_out(
    caplog: pytest.LogCaptureFixture, text: str, is_left_out: bool
) -> None:
    caplog.set_level(logging.DEBUG)

    logging.getLogger("botocore.httpsession").debug("oh", exc_info=ValueError(f"bad: {text}"))

    (record,) = caplog.records
    assert (record.exc_info is None) is is_left_out
    assert ("ValueError" in record.getMessage()) is is_left_out
    assert TOKEN not in caplog.text
