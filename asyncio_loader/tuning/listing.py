"""Which objects to measure with."""

from __future__ import annotations

from collections.abc import Sequence

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.listing import first_objects
from asyncio_loader.stores.router import StoreRouter

__all__ = ["choose_objects", "list_objects"]

# A person waits for it: a server that cannot be reached shall be called that in seconds, not in minutes.
_RETRY = RetryPolicy(max_attempts=3, deadline_s=30.0)

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".jpe", ".png", ".tif", ".tiff", ".webp")


def list_objects(uri: str, storage: S3Options, most: int) -> list[tuple[str, int]]:
    """URI and size in bytes of the first `most` objects whose URI starts with this one, in the order of their keys.

    Raises:
        ObjectNotFound: there is none, or no bucket. Others: see `ObjectStore.list`.
    """
    loop_thread = LoopThread("tune-listing")
    store = StoreRouter(storage, timeouts=_RETRY)
    try:
        entries = loop_thread.run(first_objects(store, uri, most))
    finally:
        loop_thread.close(store.aclose)
    if not entries:
        raise ObjectNotFound(f"{uri}: no object's URI starts with that, or all of them are empty", key=uri)
    return entries


def choose_objects(objects: Sequence[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """Those with the names of images, if there are any: an annotation file among them would stand for all the rest."""
    images = [(uri, size_bytes) for uri, size_bytes in objects if uri.lower().endswith(_IMAGES)]
    return images or list(objects)
