"""ListObjectsV2, of which every page is a function of the sorted keys and the query."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote
from xml.sax.saxutils import escape

from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.times import iso_time

__all__ = ["InvalidArgumentError", "ListingQuery", "render_page"]

# S3's most keys for a page, and its default ("ListObjectsV2", Amazon S3 API reference).
_MAX_KEYS = 1000


class InvalidArgumentError(Exception):
    """A parameter of the query is wrong."""


@dataclass(frozen=True, slots=True)
class ListingQuery:
    """The parameters of a page: `after` is the last key or common prefix that an earlier page had, or empty."""

    prefix: str = ""
    delimiter: str = ""
    max_keys: int = _MAX_KEYS
    after: str = ""
    token: str = ""
    encodes_urls: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> ListingQuery:
        """Read a query string's parameters. Raises `InvalidArgumentError`."""
        count = query.get("max-keys", str(_MAX_KEYS))
        if not (count.isascii() and count.isdigit()):
            raise InvalidArgumentError(f"max-keys {count!r}")
        token = query.get("continuation-token", "")
        return cls(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            max_keys=min(int(count), _MAX_KEYS),
            after=_read_token(token) if token else query.get("start-after", ""),
            token=token,
            encodes_urls=query.get("encoding-type") == "url",
        )


@dataclass(frozen=True, slots=True)
class _Page:
    keys: list[str]
    prefixes: list[str]
    next_after: str | None


def render_page(bucket: str, objects: Mapping[str, StoredObject], keys: Sequence[bytes], query: ListingQuery) -> bytes:
    """The XML document of a page.

    Args:
        bucket: its name.
        objects: all of them.
        keys: all keys in UTF-8, sorted by their bytes, as S3 sorts them.
        query: which page.
    """
    page = _cut_page(keys, query)
    encode = quote if query.encodes_urls else escape
    parts = [f"<{name}>{value}</{name}>" for name, value in _page_fields(bucket, page, query, encode)]
    parts.extend(_render_object(encode(key), objects[key]) for key in page.keys)
    parts.extend(f"<CommonPrefixes><Prefix>{encode(prefix)}</Prefix></CommonPrefixes>" for prefix in page.prefixes)
    body = "".join(parts)
    document = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{body}</ListBucketResult>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}'.encode()


def _page_fields(bucket: str, page: _Page, query: ListingQuery, encode: Callable[[str], str]) -> list[tuple[str, str]]:
    fields = [
        ("Name", escape(bucket)),
        ("Prefix", encode(query.prefix)),
        ("KeyCount", str(len(page.keys) + len(page.prefixes))),
        ("MaxKeys", str(query.max_keys)),
        ("IsTruncated", "true" if page.next_after is not None else "false"),
    ]
    if query.delimiter:
        fields.append(("Delimiter", encode(query.delimiter)))
    if query.encodes_urls:
        fields.append(("EncodingType", "url"))
    if query.token:
        fields.append(("ContinuationToken", escape(query.token)))
    if page.next_after is not None:
        fields.append(("NextContinuationToken", _write_token(page.next_after)))
    return fields


def _render_object(encoded_key: str, stored: StoredObject) -> str:
    return (
        f"<Contents><Key>{encoded_key}</Key><LastModified>{iso_time(stored.modified_s)}</LastModified>"
        f"<ETag>&quot;{stored.etag}&quot;</ETag><Size>{len(stored.body)}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _cut_page(keys: Sequence[bytes], query: ListingQuery) -> _Page:
    prefix, delimiter, after = query.prefix.encode(), query.delimiter.encode(), query.after.encode()
    page = _Page([], [], None)
    place = _first_behind(keys, prefix, delimiter, after)
    last = ""
    while place < len(keys) and keys[place].startswith(prefix):
        if len(page.keys) + len(page.prefixes) >= query.max_keys:
            # S3 calls a page of no keys complete.
            return _Page(page.keys, page.prefixes, last) if last else page
        cut = keys[place].find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            last = keys[place].decode()
            page.keys.append(last)
            place += 1
        else:
            group = keys[place][: cut + len(delimiter)]
            last = group.decode()
            page.prefixes.append(last)
            place = _end_of(keys, group)
    return page


def _first_behind(keys: Sequence[bytes], prefix: bytes, delimiter: bytes, after: bytes) -> int:
    start = bisect_left(keys, prefix)
    if not after:
        return start
    cut = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    if cut >= 0 and cut + len(delimiter) == len(after):
        # The earlier page ended with a common prefix, which stands for every key below it.
        return _end_of(keys, after)
    return max(start, bisect_right(keys, after))


def _end_of(keys: Sequence[bytes], group: bytes) -> int:
    # No UTF-8 text holds the byte 255.
    return bisect_left(keys, group + b"\xff")


def _write_token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError("continuation-token is not one of ours") from error
