"""One store for every URI: it looks at the scheme and asks the store that knows it."""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import partial
from typing import Any

from asyncio_loader.allocation import POOL_BYTES
from asyncio_loader.errors import ConfigError
from asyncio_loader.options import RetryPolicy, S3Options, Verify
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import (
    Admit,
    Entry,
    MultipartStore,
    ObjectInfo,
    ObjectStore,
    Piece,
    RangedStore,
    WritableStore,
    cut_piece,
)

__all__ = ["StoreRouter", "scheme_of"]

_SCHEMES = ("s3", "file", "memory")
# RFC 3986, section 3.1.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")


def scheme_of(uri: str) -> str:
    """The scheme of a URI in lower case; ``file`` for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else "file"


class StoreRouter:
    """Reads and writes objects by their URI: ``s3://``, ``file://``, plain paths, ``memory://``.

    Each store is made when the first URI of its scheme comes. Loops and pickling: see `stores.base`.

    Args:
        storage: where S3 is; or a store of yours, which then gets all URIs, whatever their scheme.
        timeouts: the timeouts of S3's connections.
        max_connections: how many of these are open at most.
        pool_bytes: see `S3Store`.
        verify: see `FetchOptions`; of objects on S3.
    """

    def __init__(
        self,
        storage: S3Options | ObjectStore | None = None,
        *,
        timeouts: RetryPolicy | None = None,
        max_connections: int = 128,
        pool_bytes: int = POOL_BYTES,
        verify: Verify = "auto",
    ) -> None:
        if not (storage is None or isinstance(storage, S3Options | ObjectStore)):
            raise ConfigError(f"storage must be S3Options or a store, not {storage!r}")
        self._storage = storage if storage is not None else S3Options()
        self._takes_all = not isinstance(self._storage, S3Options)
        self._timeouts = timeouts if timeouts is not None else RetryPolicy()
        self._max_connections = max_connections
        self._pool_bytes = pool_bytes
        self._verify: Verify = verify
        self._stores: dict[str, ObjectStore] = {}

    def get(self, uri: str, *, admit: Admit | None = None) -> Coroutine[Any, Any, Buffer]:
        """See `ObjectStore.get`. The store's own coroutine: on the hot path each one around it would cost."""
        return self.store_of(uri).get(uri, admit=admit)

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        """See `RangedStore.get_range`. A store of yours that cannot do it is one that "cannot do ranges"."""
        store = self.store_of(uri)
        if isinstance(store, RangedStore):
            return await store.get_range(uri, start, stop, etag=etag, into=into)
        data = await store.get(uri)
        return cut_piece(data, start, len(data) if start == 0 and into is None else stop, None, into)

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self.store_of(uri).head(uri)

    def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`."""
        return self.store_of(uri).list(uri, recursive=recursive)

    async def put(self, uri: str, data: Buffer) -> None:
        """See `WritableStore.put`."""
        await self._writable(uri).put(uri, data)

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`."""
        await self._writable(uri).delete(uri)

    async def create_upload(self, uri: str) -> str:
        """See `MultipartStore.create_upload`."""
        return await self._multipart(uri).create_upload(uri)

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        """See `MultipartStore.put_part`."""
        return await self._multipart(uri).put_part(uri, upload_id, number, data)

    async def complete_upload(self, uri: str, upload_id: str, etags: Sequence[str]) -> None:
        """See `MultipartStore.complete_upload`."""
        await self._multipart(uri).complete_upload(uri, upload_id, etags)

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        """See `MultipartStore.abort_upload`."""
        await self._multipart(uri).abort_upload(uri, upload_id)

    async def aclose(self) -> None:
        """See `ObjectStore.aclose`. Closes a store of yours, too: it may serve again afterwards."""
        stores, self._stores = self._stores, {}
        for store in stores.values():
            await store.aclose()

    def store_of(self, uri: str) -> ObjectStore:
        """The store that knows this URI.

        Raises:
            ConfigError: no store does.
        """
        scheme = self._scheme_of(uri)
        store = self._stores.get(scheme)
        if store is None:
            store = self._stores[scheme] = self._make(scheme, uri)
        return store

    def _scheme_of(self, uri: str) -> str:
        if self._takes_all:
            return "any"
        # Most of all URIs, and a regular expression less.
        return "s3" if uri.startswith("s3://") else scheme_of(uri)

    def __reduce__(self) -> tuple[object, ...]:
        again = partial(
            StoreRouter,
            self._storage,
            timeouts=self._timeouts,
            max_connections=self._max_connections,
            pool_bytes=self._pool_bytes,
            verify=self._verify,
        )
        return again, ()

    def __repr__(self) -> str:
        return f"<StoreRouter over {self._storage!r}>"

    def _writable(self, uri: str) -> WritableStore:
        store = self.store_of(uri)
        if not isinstance(store, WritableStore):
            raise ConfigError(f"{uri}: {store!r} only reads")
        return store

    def _multipart(self, uri: str) -> MultipartStore:
        store = self.store_of(uri)
        if not isinstance(store, MultipartStore):
            raise ConfigError(f"{uri}: {store!r} takes no object in parts")
        return store

    def _make(self, scheme: str, uri: str) -> ObjectStore:
        if not isinstance(self._storage, S3Options):
            return self._storage
        if scheme == "s3":
            # Here, because aiohttp and botocore take a third of a second to import and local files need neither.
            from asyncio_loader.stores.s3.store import S3Store

            return S3Store(
                self._storage,
                timeouts=self._timeouts,
                max_connections=self._max_connections,
                pool_bytes=self._pool_bytes,
                verify=self._verify,
            )
        if scheme == "file":
            from asyncio_loader.stores.local import LocalStore

            return LocalStore()
        if scheme == "memory":
            from asyncio_loader.stores.memory import MemoryStore

            return MemoryStore.process_wide()
        meant = difflib.get_close_matches(scheme, _SCHEMES, n=1, cutoff=0.5)
        hint = (
            f"did you mean {meant[0]}://?" if meant else f"known: {', '.join(f'{s}://' for s in _SCHEMES)}, plain paths"
        )
        raise ConfigError(f"{uri}: there is no store for {scheme}:// ({hint})")
