"""The slow face: its errors are in the error tree, too."""

from __future__ import annotations

import asyncio
import hashlib
import re

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, ConnectionLost, FetchError, FetchTimeout, ServerFault
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.base import Entry
from tests.unit.stores.s3.conftest import Wire

ONCE = RetryPolicy(max_attempts=1)


def _document(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


async def test_an_error_of_a_listing_names_uri_and_code(wire: Wire) -> None:
    store = await wire.answering(_document(b"403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), ONCE)

    with pytest.raises(AccessDenied, match=re.escape("s3://bucket/dir/: access denied (HTTP 403 AccessDenied)")):
        [entry async for entry in store.list("s3://bucket/dir/")]


async def test_a_failing_server_is_tried_as_often_as_the_policy_says(wire: Wire) -> None:
    answer = _document(b"500 Oops", b"<Error><Code>InternalError</Code></Error>")
    store = await wire.answering(answer, RetryPolicy(max_attempts=2))

    with pytest.raises(ServerFault):
        await store.delete("s3://bucket/key")

    assert len(wire.heads) == 2


async def test_a_server_that_is_not_there_is_named(wire: Wire) -> None:
    store = wire.store("http://127.0.0.1:1", ONCE)

    with pytest.raises(ConnectionLost, match=r"s3://bucket/key: cannot reach http://127\.0\.0\.1:1; .*endpoint_url"):
        await store.delete("s3://bucket/key")


async def test_a_silent_server_times_out(wire: Wire) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        return None

    store = wire.store(await wire.listen(script), RetryPolicy(max_attempts=1, stall_timeout_s=0.05))

    with pytest.raises(FetchTimeout, match="stall_timeout_s"):
        await store.delete("s3://bucket/key")


@pytest.mark.parametrize("method", ["delete", "list"])
async def test_all_tries_together_end_at_the_deadline(wire: Wire, method: str) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        return None

    store = wire.store(await wire.listen(script), RetryPolicy(deadline_s=0.2))
    call = store.delete("s3://bucket/key") if method == "delete" else anext(store.list("s3://bucket/key"))

    with pytest.raises(FetchTimeout, match=r"s3://bucket/key: no end with .* within 0\.2 s \(deadline_s\)"):
        await call


async def test_each_page_of_a_listing_has_the_deadline_to_itself(wire: Wire) -> None:
    first = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"<Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>"
    )
    second = b"<ListBucketResult><Contents><Key>b</Key><Size>1</Size></Contents></ListBucketResult>"

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_document(b"200 OK", second if b"continuation-token=t" in head else first))

    store = wire.store(await wire.listen(script), RetryPolicy(max_attempts=1, deadline_s=1.0))
    listing = store.list("s3://bucket/")
    found = [(await anext(listing)).uri]
    # Longer than the deadline, which the consumer's time does not count for.
    await asyncio.sleep(1.1)

    assert found + [entry.uri async for entry in listing] == ["s3://bucket/a", "s3://bucket/b"]


@pytest.mark.parametrize(("head_status", "is_fine"), [(b"200 OK", True), (b"404 Not Found", False)])
async def test_a_bucket_that_is_there_without_an_owner_will_do(wire: Wire, head_status: bytes, is_fine: bool) -> None:
    taken = _document(b"409 Conflict", b"<Error><Code>BucketAlreadyExists</Code></Error>", b"Connection: close\r\n")

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_document(head_status, b"") if head.startswith(b"HEAD") else taken)
        await writer.drain()
        writer.close()

    store = wire.store(await wire.listen(script), ONCE)

    if is_fine:
        await store.create_bucket("s3://bucket")
    else:
        with pytest.raises(FetchError, match="HTTP 409 BucketAlreadyExists"):
            await store.create_bucket("s3://bucket")


async def test_one_page_has_objects_and_prefixes_in_order(wire: Wire) -> None:
    page = (
        b"<ListBucketResult><Contents><Key>a0</Key><Size>1</Size></Contents>"
        b"<Contents><Key>z</Key><Size>2</Size></Contents>"
        b"<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>"
        b"</ListBucketResult>"
    )
    store = await wire.answering(_document(b"200 OK", page), ONCE)

    listing = [entry async for entry in store.list("s3://bucket", recursive=False)]

    assert listing == [
        Entry("s3://bucket/a/"),
        Entry("s3://bucket/a0", 1),
        Entry("s3://bucket/b/"),
        Entry("s3://bucket/z", 2),
    ]


async def test_the_bucket_stands_in_the_path_of_other_servers(wire: Wire) -> None:
    store = await wire.answering(_document(b"200 OK", b""), ONCE)

    await store.put("s3://bucket/a b", b"1")

    assert wire.heads[0].startswith(b"PUT /bucket/a%20b HTTP/1.1\r\n")


async def test_a_bucket_is_no_object_to_delete(wire: Wire) -> None:
    with pytest.raises(ConfigError, match="names a bucket"):
        await wire.store("http://127.0.0.1:1").delete("s3://bucket")


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_completion_whose_answer_was_lost_is_told_by_the_etag(wire: Wire, is_there: bool) -> None:
    parts = [hashlib.md5(data).hexdigest() for data in (b"one", b"two")]
    whole = hashlib.md5(b"".join(bytes.fromhex(etag) for etag in parts)).hexdigest() + "-2"
    gone = _document(b"404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>", b"Connection: close\r\n")
    found = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "%s"\r\nConnection: close\r\n\r\n'

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(found % (whole if is_there else "other").encode() if head.startswith(b"HEAD") else gone)
        await writer.drain()
        writer.close()

    store = wire.store(await wire.listen(script), ONCE)
    complete = store.complete_upload("s3://bucket/key", "upload", [f'"{etag}"' for etag in parts])

    if is_there:
        await complete
    else:
        with pytest.raises(FetchError, match="s3://bucket/key: the multipart upload was aborted"):
            await complete


async def test_aborting_an_upload_that_is_gone_is_no_error(wire: Wire) -> None:
    store = await wire.answering(_document(b"404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>"), ONCE)

    await store.abort_upload("s3://bucket/key", "upload")


@pytest.mark.parametrize(
    ("method", "arguments", "action"),
    [
        ("delete", [], "s3:DeleteObject"),
        ("create_upload", [], "s3:PutObject"),
        ("complete_upload", ["id", ["etag"]], "s3:PutObject"),
        ("abort_upload", ["id"], "s3:AbortMultipartUpload"),
        ("has_any", [], "s3:ListBucket"),
    ],
)
async def test_no_permission_names_the_action(wire: Wire, method: str, arguments: list[object], action: str) -> None:
    store = await wire.answering(_document(b"403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"), ONCE)

    with pytest.raises(AccessDenied) as caught:
        await getattr(store, method)("s3://bucket/key", *arguments)

    assert str(caught.value).endswith(
        f"access denied (HTTP 403 AccessDenied); the credentials may not do this ({action})"
    )
