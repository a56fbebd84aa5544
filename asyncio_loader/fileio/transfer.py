"""How an object moves in parts by the options of a backend, and what of it a journal notes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from asyncio_loader.engine.parts import PartReader, PartWriter
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.base import MultipartStore, RangedStore

if TYPE_CHECKING:
    from asyncio_loader.fileio.journal import UploadJournal

__all__ = ["FullStore", "part_reader", "part_writer"]

_DEFAULTS = S3Options()


class FullStore(RangedStore, MultipartStore, Protocol):
    """What a backend needs: an `ObjectStore` with all that is optional."""


def part_reader(store: FullStore, uri: str, options: S3Options, retry: RetryPolicy) -> PartReader:
    """A reader with the sizes of the options."""
    return PartReader(
        store, uri, retry=retry, part_bytes=options.part_size_bytes, parts_in_flight=options.parts_in_flight
    )


def part_writer(store: FullStore, uri: str, options: S3Options, journal: UploadJournal | None) -> PartWriter:
    """A writer with the sizes of the options; the journal learns of an upload before its first part goes.

    What it notes is where the server was found, for the environment of the next start may be another one.
    """

    def note(upload_id: str) -> None:
        if journal is not None:
            journal.begin(uri, upload_id, _told(store.found_options if isinstance(store, _Located) else options))

    return PartWriter(
        store,
        uri,
        part_bytes=options.part_size_bytes,
        parts_in_flight=options.parts_in_flight,
        on_open=note,
        on_end=None if journal is None else journal.end,
        on_left=None if journal is None else journal.leave,
    )


@runtime_checkable
class _Located(Protocol):
    @property
    def found_options(self) -> S3Options:
        """See `S3Store.found_options`."""
        ...


def _told(options: S3Options) -> dict[str, Any]:
    fields = dataclasses.asdict(options)
    return {name: value for name, value in fields.items() if value != getattr(_DEFAULTS, name)}
