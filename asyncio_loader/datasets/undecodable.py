"""Whether an object is to blame for what a transform raised, and not the transform."""

from __future__ import annotations

from collections.abc import Iterator

from asyncio_loader.errors import DecodeError, FetchError, LoaderError
from asyncio_loader.records import Fetched
from asyncio_loader.transforms.decoding import decode_image

__all__ = ["is_undecodable"]

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def is_undecodable(fetched: Fetched, error: LoaderError) -> bool:
    """Whether the bytes may have come corrupt, so that they are worth another GET.

    So they are where a transform raised `DecodeError`, itself or as a cause, unless of another file (a semantic map). A
    decoder of somebody else's raises whatever it likes: then an object that is named like an image, and that Pillow
    takes for none, is to blame. That costs a decoding, for samples that failed alone.
    """
    if isinstance(error, FetchError):
        return False
    found = next((each for each in _chain(error) if isinstance(each, DecodeError)), None)
    if found is not None:
        return found.key is None or _file_name(found.key) == _file_name(fetched.ref.uri)
    return bool(len(fetched.data)) and fetched.ref.uri.lower().endswith(_IMAGES) and not _is_image(fetched)


def _is_image(fetched: Fetched) -> bool:
    try:
        # OpenCV forgives broken files that other decoders refuse.
        decode_image(fetched.data, color_type="unchanged", backend="pillow")
    except DecodeError:
        return False
    return True


def _file_name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it was raised from, and what that was."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
