"""Bytes that are there already: the way from `PrefetchDataset` to the storage backend that a transform asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from asyncio_loader.records import Buffer

__all__ = ["offering", "take"]

_NOTHING: Mapping[str, Buffer] = MappingProxyType({})
_OFFERED: ContextVar[Mapping[str, Buffer]] = ContextVar("asyncio_loader.openmmlab.prefetched", default=_NOTHING)


@contextmanager
def offering(objects: Mapping[str, Buffer]) -> Iterator[None]:
    """Have `take` find these objects as long as the block lasts, in this thread (or task) alone.

    Args:
        objects: whole objects by their URI, ``s3://bucket/key`` after any path mapping. An inner block hides what an
            outer one offers.
    """
    token = _OFFERED.set(objects)
    try:
        yield
    finally:
        _OFFERED.reset(token)


def take(uri: str) -> bytes | None:
    """The object, if it is offered here; None means: read it. It may be taken more than once.

    Args:
        uri: ``s3://bucket/key`` after any path mapping, character by character as it was offered.
    """
    data = _OFFERED.get().get(uri)
    return None if data is None else bytes(data)
