"""Everything that carries no bytes of objects, through aioboto3: list, delete, uploads, buckets.

botocore retries these itself (a listing could not go on from outside), as often as the policy allows and throttled
requests no oftener; the deadline of the policy, which it does not know, cuts what is under way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import botocore.exceptions

from asyncio_loader.errors import ConfigError, ConnectionLost, FetchError, FetchTimeout, LoaderError, ObjectNotFound
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.base import Entry
from asyncio_loader.stores.s3.address import parse_object, parse_uri
from asyncio_loader.stores.s3.client import make_client
from asyncio_loader.stores.s3.clock import ServerClock
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.echoes import cause_of
from asyncio_loader.stores.s3.faults import Refusal, error_of
from asyncio_loader.stores.s3.proxy_errors import turned_away
from asyncio_loader.stores.s3.site import Site

__all__ = ["Admin"]


class Admin:
    """The slow face of one S3 service, on one loop. Its client opens at the first call.

    Args:
        site: where it is.
        credentials: None for anonymous requests.
        clock: the time of the signatures.
        options: for the profile.
        timeouts: of connections; `max_attempts` is botocore's number of tries.
    """

    def __init__(
        self,
        site: Site,
        credentials: Credentials | None,
        clock: ServerClock,
        options: S3Options,
        timeouts: RetryPolicy,
    ) -> None:
        self._site = site
        self._credentials = credentials
        self._timeouts = timeouts
        self._make_client = partial(make_client, site, credentials, clock, options.profile_name, timeouts)
        self._client: Any = None
        self._is_closed = False
        self._opening = asyncio.Lock()
        self._resources = AsyncExitStack()

    async def list(self, uri: str, recursive: bool) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`."""
        bucket, prefix = parse_uri(uri)
        delimiter = {} if recursive else {"Delimiter": "/"}
        async with self._call(uri) as client:
            pages = aiter(client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **delimiter))
        while True:
            async with self._call(uri):
                page = await anext(pages, None)
            if page is None:
                return
            for entry in _entries(bucket, page):
                yield entry

    async def has_any(self, uri: str) -> bool:
        """True if at least one object's URI starts with this one. One request for one key."""
        bucket, prefix = parse_uri(uri)
        try:
            async with self._call(uri) as client:
                page = await client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        except ObjectNotFound:
            # No bucket, nothing in it.
            return False
        return bool(page.get("Contents"))

    async def create_upload(self, uri: str) -> str:
        """See `MultipartStore.create_upload`."""
        bucket, key = parse_object(uri)
        async with self._call(uri) as client:
            return str((await client.create_multipart_upload(Bucket=bucket, Key=key))["UploadId"])

    async def complete_upload(self, uri: str, upload_id: str, etags: Sequence[str]) -> None:
        """See `MultipartStore.complete_upload`."""
        bucket, key = parse_object(uri)
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        async with self._call(uri) as client:
            try:
                await client.complete_multipart_upload(
                    Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
            except botocore.exceptions.ClientError as error:
                # An earlier try may have got through, and its answer been lost.
                if _code(error) != "NoSuchUpload" or await self._etag(uri) != _etag_of_parts(etags):
                    raise

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        """See `MultipartStore.abort_upload`."""
        bucket, key = parse_object(uri)
        async with self._call(uri) as client:
            try:
                await client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            except botocore.exceptions.ClientError as error:
                if _code(error) != "NoSuchUpload":
                    raise

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`."""
        bucket, key = parse_object(uri)
        async with self._call(uri) as client:
            await client.delete_object(Bucket=bucket, Key=key)

    async def has_object(self, uri: str) -> bool:
        """True if there is this very object."""
        return await self._etag(uri) is not None

    async def has_bucket(self, uri: str) -> bool:
        """True if the URI's bucket exists and may be looked at. Needs the permission to list it."""
        bucket, _ = parse_uri(uri)
        try:
            async with self._call(uri) as client:
                await client.head_bucket(Bucket=bucket)
        except ObjectNotFound:
            return False
        return True

    async def create_bucket(self, uri: str) -> None:
        """Make the URI's bucket, in the region of this service; one of one's own that is there already will do."""
        bucket, _ = parse_uri(uri)
        elsewhere = self._site.endpoint.is_aws and self._site.region != "us-east-1"
        place = {"CreateBucketConfiguration": {"LocationConstraint": self._site.region}} if elsewhere else {}
        async with self._call(uri) as client:
            try:
                await client.create_bucket(Bucket=bucket, **place)
            except botocore.exceptions.ClientError as error:
                if not await self._is_own(uri, _code(error)):
                    raise

    async def _is_own(self, uri: str, code: str) -> bool:
        """True if the bucket that the server did not make, for this reason, is there and one's own.

        Amazon tells one's own from another's; rclone and others know no owners and call both "BucketAlreadyExists".
        """
        if code == "BucketAlreadyExists" and not self._site.endpoint.is_aws:
            return await self.has_bucket(uri)
        return code == "BucketAlreadyOwnedByYou"

    async def aclose(self) -> None:
        """Close the client, for good. Idempotent."""
        self._is_closed = True
        async with self._opening:
            self._client = None
            await self._resources.aclose()

    async def _etag(self, uri: str) -> str | None:
        """The object's version; None if there is no object."""
        bucket, key = parse_object(uri)
        try:
            async with self._call(uri) as client:
                return str((await client.head_object(Bucket=bucket, Key=key)).get("ETag", "")).strip('"')
        except ObjectNotFound:
            return None

    @asynccontextmanager
    async def _call(self, uri: str) -> AsyncIterator[Any]:
        """The client, for one call of it: with the deadline for all its tries together, and its errors as ours."""
        endpoint, deadline_s = self._site.endpoint.url, self._timeouts.deadline_s
        try:
            client = await self._open()
            async with asyncio.timeout(deadline_s):
                yield client
        except LoaderError:
            # One of ours is a TimeoutError, too.
            raise
        except TimeoutError as error:
            raise FetchTimeout(
                f"{uri}: no end with {endpoint} within {deadline_s:g} s (deadline_s)", key=uri
            ) from error
        except botocore.exceptions.ClientError as error:
            raise self._error_of(uri, error) from error
        except botocore.exceptions.BotoCoreError as error:
            raise _error_of_botocore(uri, error, endpoint) from cause_of(error)

    def _error_of(self, uri: str, error: botocore.exceptions.ClientError) -> LoaderError:
        action = f"s3:{_ACTIONS.get(error.operation_name, error.operation_name)}"
        renewal = "" if self._credentials is None else self._credentials.renewal
        return error_of(uri, _answer(error), region=self._site.region, action=action, renewal=renewal)

    async def _open(self) -> Any:
        async with self._opening:
            if self._is_closed:
                raise FetchError(f"{self._site.endpoint.url}: the store was closed")
            if self._client is None:
                self._client = await self._resources.enter_async_context(self._make_client())
            return self._client


# The permissions whose names are not the operations' ("Actions, resources, and condition keys for Amazon S3").
_ACTIONS = {
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
}


def _entries(bucket: str, page: dict[str, Any]) -> list[Entry]:
    """One page in order: S3 pages through objects and prefixes together, but tells them apart within a page."""
    found = [Entry(f"s3://{bucket}/{item['Key']}", item["Size"]) for item in page.get("Contents", ())]
    found += [Entry(f"s3://{bucket}/{item['Prefix']}") for item in page.get("CommonPrefixes", ())]
    return sorted(found, key=lambda entry: entry.uri.encode())


def _code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _etag_of_parts(etags: Sequence[str]) -> str:
    """What S3 calls an object of these parts: the MD5 of their MD5s, and their number."""
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _answer(error: botocore.exceptions.ClientError) -> Refusal:
    about = error.response.get("Error", {})
    meta = error.response.get("ResponseMetadata", {})
    code = _code(error)
    status = int(meta.get("HTTPStatusCode") or (code if code.isdigit() else 0))
    region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region") or about.get("Region", "")
    message = " ".join(str(about.get("Message", "")).split())[:200]
    return Refusal(status, "" if code.isdigit() else code, message, region)


def _error_of_botocore(uri: str, error: botocore.exceptions.BotoCoreError, endpoint: str) -> LoaderError:
    match error:
        case botocore.exceptions.ParamValidationError() | botocore.exceptions.ValidationError():
            return ConfigError(f"{uri}: {' '.join(str(error).split())}")
        case botocore.exceptions.ConnectTimeoutError():
            return FetchTimeout(f"{uri}: no connection to {endpoint} (connect_timeout_s)", key=uri)
        case botocore.exceptions.ReadTimeoutError():
            return FetchTimeout(f"{uri}: no answer from {endpoint} (stall_timeout_s)", key=uri)
        case botocore.exceptions.SSLError():
            return ConnectionLost(
                f"{uri}: TLS with {endpoint} failed; if an authority of your own signed its certificate, name its PEM"
                " file in S3Options.ca_bundle or AWS_CA_BUNDLE",
                key=uri,
            )
        case botocore.exceptions.ProxyConnectionError():
            away = turned_away(endpoint, error.kwargs.get("error"))
            return away.kind(f"{uri}: {away.what}", key=uri)
        case botocore.exceptions.EndpointConnectionError():
            return ConnectionLost(f"{uri}: cannot reach {endpoint}; look at S3Options.endpoint_url", key=uri)
        case botocore.exceptions.ConnectionError() | botocore.exceptions.HTTPClientError():
            return ConnectionLost(f"{uri}: {endpoint} closed the connection ({type(error).__name__})", key=uri)
    return FetchError(f"{uri}: {type(error).__name__}: {' '.join(str(error).split())}", key=uri)
