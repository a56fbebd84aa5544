"""S3 as a store: puts site, credentials, hot path and slow path together, when and where they are first needed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, NamedTuple

from asyncio_loader.allocation import POOL_BYTES
from asyncio_loader.errors import FetchError, LoaderError
from asyncio_loader.options import RetryPolicy, S3Options, Verify
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo, Piece
from asyncio_loader.stores.s3.admin import Admin
from asyncio_loader.stores.s3.clock import ServerClock
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.exchange import Exchange
from asyncio_loader.stores.s3.inspection import Inspection
from asyncio_loader.stores.s3.objects import ObjectReader
from asyncio_loader.stores.s3.site import Site, resolve_site
from asyncio_loader.stores.s3.tls import open_tls
from asyncio_loader.stores.s3.transports import Transports
from asyncio_loader.stores.s3.writes import ObjectWriter
from asyncio_loader.stores.upload import put_in_parts

__all__ = ["S3Store"]


class S3Store:
    """Reads and writes ``s3://bucket/key``.

    Endpoint, region and credentials are looked up at the first call, off the loop; so a wrong profile shows then, not
    here. Pickling keeps the options and nothing else.

    Args:
        options: where S3 is and who asks.
        timeouts: the timeouts of connections; its retries are used for all but `get`, `get_range` and `head`.
        max_connections: GETs, HEADs and PUTs at the same time; more wait their turn, without a timeout.
        pool_bytes: memory that is kept for the objects to come, in bytes: see `BlockPool`. What `get` has handed out
            counts, so that it should be somewhat more than is in use at the same time.
        verify: see `FetchOptions`; for `get`.
    """

    def __init__(
        self,
        options: S3Options | None = None,
        *,
        timeouts: RetryPolicy | None = None,
        max_connections: int = 128,
        pool_bytes: int = POOL_BYTES,
        verify: Verify = "auto",
    ) -> None:
        self._settings = _Settings(
            options if options is not None else S3Options(),
            timeouts if timeouts is not None else RetryPolicy(),
            max_connections,
            pool_bytes,
            verify,
        )
        self._link: _Link | None = None

    def get(self, uri: str, *, admit: Admit | None = None) -> Coroutine[Any, Any, Buffer]:
        """See `ObjectStore.get`."""
        link = self._link
        if link is not None and link.parts is not None and link.loop is asyncio.get_running_loop():
            return link.parts.reader.get(uri, admit)
        return self._open_and_get(uri, admit)

    async def _open_and_get(self, uri: str, admit: Admit | None) -> Buffer:
        return await (await self._parts()).reader.get(uri, admit)

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        """See `RangedStore.get_range`."""
        return await (await self._parts()).reader.get_range(uri, start, stop, etag, into)

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await (await self._parts()).reader.head(uri)

    async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`. ``s3://bucket`` lists all of a bucket."""
        async for entry in (await self._parts()).admin.list(uri, recursive):
            yield entry

    async def put(self, uri: str, data: Buffer) -> None:
        """See `WritableStore.put`. In parts above `S3Options.part_size_bytes`, several at a time."""
        options = self._settings.options
        # A view of larger items counts those, not bytes.
        view = memoryview(data).cast("B")
        if len(view) <= options.part_size_bytes:
            await (await self._parts()).writer.put(uri, view)
        else:
            await put_in_parts(
                self, uri, view, part_bytes=options.part_size_bytes, parts_in_flight=options.parts_in_flight
            )

    async def create_upload(self, uri: str) -> str:
        """See `MultipartStore.create_upload`."""
        return await (await self._parts()).admin.create_upload(uri)

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        """See `MultipartStore.put_part`."""
        return await (await self._parts()).writer.put_part(uri, upload_id, number, data)

    async def complete_upload(self, uri: str, upload_id: str, etags: Sequence[str]) -> None:
        """See `MultipartStore.complete_upload`."""
        await (await self._parts()).admin.complete_upload(uri, upload_id, etags)

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        """See `MultipartStore.abort_upload`."""
        await (await self._parts()).admin.abort_upload(uri, upload_id)

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`."""
        await (await self._parts()).admin.delete(uri)

    async def has_object(self, uri: str) -> bool:
        """True if there is this very object; unlike `head` it retries."""
        return await (await self._parts()).admin.has_object(uri)

    async def has_any(self, uri: str) -> bool:
        """True if some object's URI starts with this one: one request, however many there are."""
        return await (await self._parts()).admin.has_any(uri)

    async def has_bucket(self, uri: str) -> bool:
        """True if the URI's bucket exists. Needs the permission to list it."""
        return await (await self._parts()).admin.has_bucket(uri)

    async def create_bucket(self, uri: str) -> None:
        """Make the URI's bucket; no error if it is there and one's own."""
        await (await self._parts()).admin.create_bucket(uri)

    async def inspect(self) -> Inspection:
        """For questions about the service that are no request for an object. Good until `aclose`."""
        parts = await self._parts()
        return Inspection(parts.site, parts.credentials, parts.exchange)

    @property
    def found_options(self) -> S3Options:
        """The options, with endpoint, region and profile as they were found: another environment changes them no more.

        Before the first call, and once it is closed: the options as they were given.
        """
        site = self._link.parts.site if self._link is not None and self._link.parts is not None else None
        if site is None:
            return self._settings.options
        profile_name = _profile_name(self._settings.options, site)
        return dataclasses.replace(
            self._settings.options, endpoint_url=site.endpoint.url, region_name=site.region, profile_name=profile_name
        )

    async def aclose(self) -> None:
        """See `ObjectStore.aclose`."""
        link, self._link = self._link, None
        if link is not None and link.loop is asyncio.get_running_loop():
            await link.aclose()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, tuple(self._settings)

    def __repr__(self) -> str:
        return f"<S3Store {self._settings.options!r}>"

    async def _parts(self) -> _Parts:
        link = self._link
        loop = asyncio.get_running_loop()
        if link is None or link.loop is not loop:
            if link is not None and link.is_alive:
                raise LoaderError("an S3Store serves one event loop at a time: aclose it there first, or make another")
            link = self._link = _Link(loop, self._settings)
        return link.parts or await link.open()


def _profile_name(options: S3Options, site: Site) -> str | None:
    # botocore takes a profile that is named over the environment's keys, and finds none called "default" without files.
    if options.profile_name is not None or site.profile == "default" or "AWS_ACCESS_KEY_ID" in os.environ:
        return options.profile_name
    return site.profile


class _Settings(NamedTuple):
    """The arguments of an `S3Store`."""

    options: S3Options
    timeouts: RetryPolicy
    max_connections: int
    pool_bytes: int
    verify: Verify


class _Parts(NamedTuple):
    site: Site
    credentials: Credentials | None
    exchange: Exchange
    reader: ObjectReader
    writer: ObjectWriter
    admin: Admin


class _Link:
    """What a store has in one loop of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: _Settings) -> None:
        self.loop = loop
        self.parts: _Parts | None = None
        self._pid = os.getpid()
        self._settings = settings
        self._is_closed = False
        self._opening = asyncio.Lock()

    @property
    def is_alive(self) -> bool:
        """False where it was inherited through a fork, or its loop is gone."""
        return self._pid == os.getpid() and not self.loop.is_closed()

    async def open(self) -> _Parts:
        """Look everything up once; concurrent callers wait for the same look-up, and a failed one is not kept."""
        async with self._opening:
            if self.parts is None:
                options, timeouts, max_connections, pool_bytes, verify = self._settings
                site, botocore_session = await asyncio.to_thread(resolve_site, options)
                is_secure = site.endpoint.scheme == "https"
                tls = await asyncio.to_thread(open_tls, site.ca_bundle) if is_secure else None
                if self._is_closed:
                    raise FetchError("the store was closed while it looked up where S3 is")
                credentials = None if options.anonymous else Credentials(botocore_session, site.profile)
                transports = Transports(site, options, tls, timeouts)
                clock = ServerClock(site.endpoint.url)
                exchange = Exchange(
                    transports,
                    site.endpoint,
                    site.region,
                    credentials,
                    clock=clock,
                    max_connections=max_connections,
                )
                self.parts = _Parts(
                    site,
                    credentials,
                    exchange,
                    ObjectReader(exchange, pool_bytes=pool_bytes, verify=verify),
                    ObjectWriter(exchange, timeouts),
                    Admin(site, credentials, clock, options, timeouts),
                )
            return self.parts

    async def aclose(self) -> None:
        """Close what is open, or about to be: whoever waits for `open` fails."""
        self._is_closed = True
        async with self._opening:
            parts, self.parts = self.parts, None
        if parts is not None:
            await parts.exchange.aclose()
            await parts.admin.aclose()


def _rebuild(
    options: S3Options, timeouts: RetryPolicy, max_connections: int, pool_bytes: int, verify: Verify
) -> S3Store:
    return S3Store(options, timeouts=timeouts, max_connections=max_connections, pool_bytes=pool_bytes, verify=verify)
