"""The values that travel through the loader: what to fetch, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from asyncio_loader.errors import LoaderError

__all__ = ["Buffer", "Failed", "Fetched", "ObjectRef", "Outcome", "Sample", "Slot"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""The bytes of an object: anything `len()`, `numpy.frombuffer` and the decoders take."""

Sample: TypeAlias = dict[str, Any]
"""The dialect's `results` dict that a pipeline takes and returns (`img_info`, `ann_info`, `img`, …)."""


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """What to fetch.

    Attributes:
        uri: ``s3://bucket/key``, ``file:///path``, a plain path, or ``memory://name``. Taken literally: a key with
            spaces, ``+`` or ``%`` is written as it is, never percent-encoded.
        size_bytes: size of the object where it is known (from a listing or a manifest). It lets the window reserve
            exactly that many bytes before the GET instead of an estimate; a wrong size costs nothing but accuracy.
    """

    uri: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in the canonical order of an epoch, and the sample that stands there.

    Attributes:
        position: place in the epoch, from 0; the same on every rank, worker and thread.
        index: index of the sample in the sequence of refs.
        is_padding: True where the position lies past the end of the epoch, and the sample is there a second time
            only to give every rank as many samples as the others. A metric drops it. In a `Fetched` also where it
            stands in for a sample that ``on_error="skip"`` left out.
    """

    position: int
    index: int
    is_padding: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object that came, whole and in order.

    It pickles: a `memoryview` crosses a process as `bytes`.

    Attributes:
        ref: what was asked for.
        data: the bytes of the object, of the announced length. Without a transform they belong to whoever holds the
            `Fetched`; the window has counted them until the next one is taken.
        position: see `Slot`.
        index: see `Slot`.
        epoch: the epoch it belongs to.
        is_padding: see `Slot`.
        attempts: number of GETs it took, from 1.
    """

    ref: ObjectRef
    data: Buffer
    position: int = 0
    index: int = 0
    epoch: int = 0
    is_padding: bool = False
    attempts: int = 1

    def __reduce__(self) -> tuple[type[Fetched], tuple[Any, ...]]:
        data = bytes(self.data) if isinstance(self.data, memoryview) else self.data
        return Fetched, (self.ref, data, self.position, self.index, self.epoch, self.is_padding, self.attempts)


@dataclass(frozen=True, slots=True)
class Failed:
    """An object that did not come, or whose sample a transform rejected.

    Attributes:
        ref: what was asked for.
        error: why; its message names the key.
        position: see `Slot`.
        index: see `Slot`.
        epoch: the epoch it belongs to.
        is_padding: see `Slot`.
        attempts: number of GETs made.
    """

    ref: ObjectRef
    error: LoaderError
    position: int = 0
    index: int = 0
    epoch: int = 0
    is_padding: bool = False
    attempts: int = 0


Outcome: TypeAlias = Fetched | Failed
"""Expected failures are values: `Fetched`, or `Failed` with the error that `on_error` decides about."""
