"""The seam between the loader and wherever bytes live.

A store is addressed by whole URIs. It connects at the first call, in the event loop of that call, and belongs to that
loop until `aclose`; it pickles as its configuration, never with a connection or a secret. `StoreContract` in the tests
is this page as code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from asyncio_loader.records import Buffer

__all__ = ["Admit", "Entry", "ObjectInfo", "ObjectStore", "WritableStore"]

Admit: TypeAlias = Callable[[int], Awaitable[None]]
"""Called once per GET with the size in bytes of the coming body, before it is read; the body waits for it.

A body whose length the server does not announce is admitted when it has come, with the length it turned out to have.
"""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a HEAD or a listing tells of an object.

    Attributes:
        uri: the object.
        size_bytes: its size.
        etag: version of its content without the quotes, or None where the store has none.
    """

    uri: str
    size_bytes: int
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing: an object (`size_bytes` is set), or a common prefix that ends in ``/`` (it is None)."""

    uri: str
    size_bytes: int | None = None

    @property
    def is_prefix(self) -> bool:
        """True for a common prefix, the object store's idea of a directory."""
        return self.size_bytes is None


@runtime_checkable
class ObjectStore(Protocol):
    """Reads objects. `get` and `head` make one attempt per call: who calls decides about retries."""

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """The whole object, of exactly the announced length.

        Raises:
            FetchError: the subclass that tells why; retryable or not is `engine.backoff.is_retryable`'s to say.
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
