"""Uploads that a killed process left behind: aborted where it had them, without keeping a start waiting for long."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from asyncio_loader.errors import ConfigError, ConnectionLost, FetchError, FetchTimeout, LoaderError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.link import Link
from asyncio_loader.fileio.objects import ObjectBackend
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.base import MultipartStore

if TYPE_CHECKING:
    from asyncio_loader.fileio.file_client import FileClient
    from asyncio_loader.fileio.journal import Upload

__all__ = ["abort_through", "abort_where_noted"]

logger = logging.getLogger(__name__)

# The parts cost money, not correctness: what does not answer soon is asked again by the next start.
_TRIES = RetryPolicy(max_attempts=2, connect_timeout_s=2.0, first_byte_timeout_s=3.0, stall_timeout_s=3.0)
_TOTAL_S = 8.0


def abort_where_noted(uploads: Sequence[Upload], path: str) -> list[Upload]:
    """Abort each by the options noted with it; those that could be.

    Whatever is wrong with the others, their notes included, is logged as a warning that begins with `path`. A server
    that cannot be reached is not asked for the rest of its uploads. All servers together get 8 s, and as long again
    at the most to close the connections.
    """
    until_s = time.monotonic() + _TOTAL_S
    by_storage = itertools.groupby(sorted(uploads, key=_storage), key=_storage)
    return [upload for _, group in by_storage for upload in _abort_in_one(list(group), until_s, path)]


def abort_through(client: FileClient, uploads: Sequence[Upload], path: str) -> list[Upload]:
    """Abort each through this client, as long as its own retries take; otherwise as `abort_where_noted`.

    Raises:
        ConfigError: the client's backend knows no uploads, or cannot be used.
    """
    backend = client.client
    if not isinstance(backend, ObjectBackend):
        raise ConfigError(f"{path}: {backend!r} knows no uploads that could be aborted")
    return _abort_each(uploads, lambda upload: backend.abort_upload(upload.uri, upload.upload_id), path, FetchError)


def _storage(upload: Upload) -> str:
    return json.dumps(upload.storage, sort_keys=True)


def _abort_in_one(uploads: list[Upload], until_s: float, path: str) -> list[Upload]:
    from asyncio_loader.stores.s3.store import S3Store

    try:
        options = AwsBackend(**uploads[0].storage).options
    except ConfigError as error:
        # Written by another version, or by hand.
        _warn(path, uploads, error)
        return []
    link = Link(S3Store(options, timeouts=_TRIES))
    try:
        return _abort_each(uploads, lambda upload: link.run(_abort(link.store, upload, until_s)), path, LoaderError)
    finally:
        link.close()


def _abort_each(
    uploads: Sequence[Upload], abort: Callable[[Upload], None], path: str, forgiven: type[LoaderError]
) -> list[Upload]:
    aborted = []
    for number, upload in enumerate(uploads):
        try:
            abort(upload)
        except (ConnectionLost, FetchTimeout) as error:
            _warn(path, uploads[number:], error)
            break
        except forgiven as error:
            _warn(path, [upload], error)
        else:
            aborted.append(upload)
    return aborted


async def _abort(store: MultipartStore, upload: Upload, until_s: float) -> None:
    limit = asyncio.timeout(max(0.0, until_s - time.monotonic()))
    try:
        async with limit:
            await store.abort_upload(upload.uri, upload.upload_id)
    except TimeoutError:
        if limit.expired():
            raise FetchTimeout(f"{upload.uri}: no answer within the {_TOTAL_S:g} s that a start waits") from None
        raise


def _warn(path: str, uploads: Sequence[Upload], error: LoaderError) -> None:
    more = f" and {len(uploads) - 1} more" if len(uploads) > 1 else ""
    logger.warning("%s: the upload to %s%s is left over and stays for now: %s", path, uploads[0].uri, more, error)
