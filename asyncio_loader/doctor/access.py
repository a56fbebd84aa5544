"""What may be done: list, get, and put where that is asked for."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field, replace

from asyncio_loader.doctor.findings import Finding, of_error
from asyncio_loader.errors import AccessDenied, ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.listing import first_objects
from asyncio_loader.stores.retry import retry_calls
from asyncio_loader.stores.router import StoreRouter, scheme_of

__all__ = ["Access", "check_reading", "check_writing"]

# Enough for the measurements not to come from one object's place on the server's disks.
_MOST_OBJECTS = 200

_OWN_PREFIX = "asyncio-loader-doctor-"
_TEXT = b"asyncio-loader doctor was here; delete me"


@dataclass(slots=True)
class Access:
    """What came of `check_reading`.

    Attributes:
        findings: in the order of what was tried.
        objects: URI and size in bytes of some objects that can be read; none where nothing can.
    """

    findings: list[Finding] = field(default_factory=list)
    objects: list[tuple[str, int]] = field(default_factory=list)


async def check_reading(store: StoreRouter, uri: str, retry: RetryPolicy, *, may_be_empty: bool) -> Access:
    """List what begins with the URI, or find the object it names, and get the first byte of one.

    Args:
        store: not closed.
        uri: object, prefix, bucket or path.
        retry: of each GET.
        may_be_empty: whether it is meant to be written to, too.
    """
    access = Access()
    try:
        objects = await first_objects(store, uri, _MOST_OBJECTS)
    except LoaderError as error:
        await _without_listing(store, uri, retry, error, access)
        return access
    if not objects:
        access.findings.append(_nothing(uri, may_be_empty))
        return access
    sizes = sorted(size for _, size in objects)
    count = f"{len(objects)} objects or more" if len(objects) == _MOST_OBJECTS else _plural(len(objects))
    access.findings.append(Finding("ok", "list", f"{count}, {_size(sizes[len(sizes) // 2])} in the median"))
    first, _ = objects[0]
    try:
        await _get_byte(store, first, retry)
    except LoaderError as error:
        access.findings.append(of_error("get", error, uri))
        return access
    access.findings.append(Finding("ok", "get", f"{_name(first)} can be read"))
    access.objects = objects
    return access


async def _without_listing(
    store: StoreRouter, uri: str, retry: RetryPolicy, refusal: LoaderError, access: Access
) -> None:
    """Whoever may not list may still get what he knows the name of."""
    is_object = isinstance(refusal, AccessDenied) and not uri.endswith("/")
    try:
        size_bytes = await _get_byte(store, uri, retry) if is_object else 0
    except (ConfigError, ObjectNotFound):
        # The URI is that of a bucket or prefix.
        size_bytes = 0
    except LoaderError as error:
        access.findings += [of_error("list", refusal, uri), of_error("get", error, uri)]
        return
    if not size_bytes:
        advice = "name an object in place of a prefix, to see whether it can be read without listing"
        access.findings.append(_of_refusal(refusal, uri, advice))
        return
    access.findings += [
        of_error(
            "list",
            refusal,
            uri,
            level="warning",
            advice="allow s3:ListBucket, or do without: training knows the images' names; tune and --resume do not",
        ),
        Finding("ok", "get", f"{_name(uri)} can be read"),
    ]
    access.objects = [(uri, size_bytes)]


def _of_refusal(refusal: LoaderError, uri: str, advice: str) -> Finding:
    finding = of_error("list", refusal, uri)
    if not isinstance(refusal, AccessDenied):
        return finding if finding.advice else replace(finding, advice="is that an S3 server, and the right URI?")
    return Finding("failed", "list", finding.text, f"{finding.advice}; {advice}" if finding.advice else advice)


async def check_writing(store: StoreRouter, directory: str) -> Finding:
    """Put a small object of a name of its own, read it, and delete it.

    However it ends, by being cancelled, too, the deletion has been tried.

    Args:
        store: not closed.
        directory: URI or path, with a slash at the end; of a path, it exists.
    """
    mine = f"{directory}{_OWN_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        found = await _put_and_get(store, mine)
    finally:
        left = await _delete(store, mine)
    return found if left is None or found.level == "failed" else _left_there(mine, left)


async def _put_and_get(store: StoreRouter, mine: str) -> Finding:
    try:
        await store.put(mine, _TEXT)
    except LoaderError as error:
        found = of_error("put", error, mine)
        return (
            found if found.advice else replace(found, advice="does this server take objects, and here (s3:PutObject)?")
        )
    try:
        came = bytes(await store.get(mine))
    except LoaderError as error:
        unread = of_error("put", error, mine)
        return Finding("failed", "put", f"{mine} was put and cannot be read: {unread.text}", unread.advice)
    if came != _TEXT:
        return Finding("failed", "put", f"{mine} was put and came back as something else", "look at the server")
    return Finding("ok", "put", f"put, read and deleted {mine} ({len(_TEXT)} bytes)")


async def _delete(store: StoreRouter, uri: str) -> LoaderError | None:
    try:
        await store.delete(uri)
    except LoaderError as error:
        return error
    return None


def _left_there(uri: str, error: LoaderError) -> Finding:
    return Finding(
        "warning",
        "put",
        f"{uri} was put and cannot be deleted: {of_error('put', error, uri).text}",
        "delete it by hand; old checkpoints (max_keep_ckpts) would stay, too",
    )


async def _get_byte(store: StoreRouter, uri: str, retry: RetryPolicy) -> int:
    """Size of the object in bytes."""
    piece, _ = await retry_calls(lambda: store.get_range(uri, 0, 1), uri, retry=retry)
    return piece.size_bytes


def _nothing(uri: str, may_be_empty: bool) -> Finding:
    if scheme_of(uri) == "memory":
        return Finding("warning", "list", "nothing is there: memory:// is of one process, and this one has just begun")
    text = "no object's URI begins with that, or all of them are empty"
    if scheme_of(uri) == "file" and _may_lack_scheme(uri):
        text = "there is no such file or directory on this machine, or it is empty"
        return Finding("warning" if may_be_empty else "failed", "list", text, f"did you mean s3://{uri}?")
    return Finding("warning" if may_be_empty else "failed", "list", text, "look at the bucket and the prefix")


def _may_lack_scheme(uri: str) -> bool:
    """Whether it could be ``bucket/prefix``: a path that begins with a name of 3 to 63 characters as buckets have."""
    bucket, *_ = uri.split("/")
    return re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) is not None


def _name(uri: str) -> str:
    return uri.rpartition("/")[2] or uri


def _plural(count: int) -> str:
    return f"{count} {'object' if count == 1 else 'objects'}"


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes} bytes"
