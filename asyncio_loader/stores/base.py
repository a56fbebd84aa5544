"""The seam between the loader and wherever bytes live.

A store is addressed by whole URIs. It connects at the first call, in the event loop of that call, and belongs to that
loop until `aclose`; it pickles as its configuration, never with a connection or a secret. `StoreContract` in the tests
is this page as code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from asyncio_loader.errors import ObjectChanged
from asyncio_loader.records import Buffer
from asyncio_loader.stores.checksum import Checksum

__all__ = [
    "Admit",
    "Entry",
    "MultipartStore",
    "ObjectInfo",
    "ObjectStore",
    "Piece",
    "RangedStore",
    "WritableStore",
    "admits_now",
    "changed",
    "cut_piece",
]

Admit: TypeAlias = Callable[[int], Awaitable[None]]
"""Called once per GET with the size in bytes of the coming body, before it is read; the body waits for it.

A body whose length the server does not announce is admitted when it has come, with the length it turned out to have.
One that also has a method ``now(size_bytes) -> bool`` is asked first whether it can do so without waiting: a store then
need not wake anybody before the whole body is there.
"""


def admits_now(admit: Admit, size_bytes: int) -> bool:
    """Ask an `Admit` that can tell at once; True if the body may come, which it is not asked for again."""
    now: Callable[[int], bool] | None = getattr(admit, "now", None)
    return now is not None and now(size_bytes)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a HEAD or a listing tells of an object.

    Attributes:
        uri: the object.
        size_bytes: its size.
        etag: version of its content without the quotes, or None where the store has none.
        checksum: of the whole content, where the store keeps one that can be computed here.
    """

    uri: str
    size_bytes: int
    etag: str | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing: an object (`size_bytes` is set), or a common prefix that ends in ``/`` (it is None)."""

    uri: str
    size_bytes: int | None = None

    @property
    def is_prefix(self) -> bool:
        """True for a common prefix, the object store's idea of a directory."""
        return self.size_bytes is None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of one version of an object.

    Attributes:
        data: the bytes.
        start: place of the first of them in the object, from 0.
        size_bytes: size of the whole object.
        etag: the version, for the next `RangedStore.get_range`; None where the store has none.
        checksum: of the whole object; only with a piece that is all of it, and not verified yet.
    """

    data: Buffer
    start: int
    size_bytes: int
    etag: str | None = None
    checksum: Checksum | None = None

    @property
    def is_whole(self) -> bool:
        """True if this is all of the object."""
        return self.start == 0 and len(self.data) == self.size_bytes


def changed(uri: str) -> ObjectChanged:
    """The error of a store that has another version than the one asked for."""
    return ObjectChanged(f"{uri}: another version has taken its place while it was read", key=uri)


def cut_piece(data: Buffer, start: int, stop: int, etag: str | None, into: memoryview | None) -> Piece:
    """The piece [start, stop) of a whole object, for stores that have it at hand. Copies only into `into`."""
    whole = memoryview(data).cast("B")
    view = whole[start:stop]
    if into is not None:
        into[: len(view)] = view
        view = into[: len(view)]
    return Piece(view, start, len(whole), etag)


@runtime_checkable
class ObjectStore(Protocol):
    """Reads objects. `get` and `head` make one attempt per call: who calls decides about retries."""

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """The whole object, of exactly the announced length.

        Raises:
            FetchError: the subclass that tells why; retryable or not is `stores.backoff.is_retryable`'s to say.
            ConfigError: the URI is not one of this store's, or the options are wrong.

        Cancelling it drops the connection it used, if the body was under way, and leaves the store usable.
        """
        ...

    async def head(self, uri: str) -> ObjectInfo:
        """Size and version of an object. Raises as `get`."""
        ...

    def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """Everything whose URI starts with `uri`, in the order of the keys' UTF-8 bytes.

        Not recursive: only what has no further ``/`` behind `uri`, and the common prefixes of the rest.
        Nothing there is an empty listing, not an error. Raises as `get`, after the retries that a listing needs
        to go on where it was.
        """
        ...

    async def aclose(self) -> None:
        """Drop all connections. What is in flight fails, with an error that is not retried. Idempotent.

        A later call connects anew, in whichever loop it is made.
        """
        ...


@runtime_checkable
class WritableStore(ObjectStore, Protocol):
    """Writes objects, too; `put` and `delete` retry by themselves where the store is remote."""

    async def put(self, uri: str, data: Buffer) -> None:
        """Create or replace an object: whole or not at all. Raises as `get`."""
        ...

    async def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error, as on S3. Raises as `get`."""
        ...


@runtime_checkable
class RangedStore(ObjectStore, Protocol):
    """Reads objects piece by piece."""

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        """The bytes [start, stop), cut at the end of the object: none of them where it ends before `start`.

        One attempt, as `get`. From a server that cannot do ranges, a request from 0 without `into` brings the whole
        object, which would have to come anyway.

        Args:
            uri: the object.
            start: first byte, from 0.
            stop: the byte behind the last one, above `start`.
            etag: the version that it must be. None: whichever there is.
            into: where the bytes go, at least ``stop - start`` of them; the piece's `data` is then the front of it.
                Cancelled or failed, it leaves anything in there.

        Raises:
            ObjectChanged: it is another version.
            FetchError: as `get`.
        """
        ...


@runtime_checkable
class MultipartStore(WritableStore, Protocol):
    """Takes an object in parts, which is there only once it is complete. All of it retries by itself, as `put`."""

    async def create_upload(self, uri: str) -> str:
        """Begin an upload; its id."""
        ...

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        """Send a part; its ETag. `data` must stay as it is until this returns or is cancelled.

        Args:
            uri: the object.
            upload_id: from `create_upload`.
            number: place of the part, from 1 to 10,000.
            data: all parts but the last must have at least 5 MiB.
        """
        ...

    async def complete_upload(self, uri: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of the parts 1, 2, 3, … whose ETags these are. It replaces another one at once."""
        ...

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        """Drop an upload and its parts. One that is gone is no error."""
        ...
