"""An order from outside: a torch `Sampler`, or a function of the epoch."""

from __future__ import annotations

import hashlib
import operator
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DistributedSampler, Sampler

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.computed import ComputedSequence

__all__ = ["CustomOrder", "OrderSource"]

OrderSource: TypeAlias = Iterable[int] | Callable[[int], Iterable[int]]
"""A torch `Sampler` or any other iterable of indices, or a function from the epoch to the indices in their order."""

_Generator: TypeAlias = torch.Generator | random.Random | np.random.Generator | np.random.RandomState

_KEPT_EPOCHS = 2
"""The current one, and the next one, which is read ahead."""

_PROBES = 64


class CustomOrder:
    """The `Ordering` that a sampler or a function of the epoch makes.

    It is read once per epoch, by `of_epoch`, in the thread that calls it, and what was read of the last two epochs is
    kept. It must be read alike in every process, on every rank, and again on resume. For that a sampler gets the epoch
    (`set_epoch`, where it has that), and while it is read, the global generators of torch, numpy and `random` and those
    that the sampler has as attributes are seeded from (seed, epoch); afterwards they are as they were. What draws from
    anywhere else is not repeatable; `digest` finds that out on resume.

    Picklable where the source is. What was read does not travel: a spawned worker reads for itself.
    """

    def __init__(self, source: OrderSource, *, length: int, seed: int) -> None:
        """Describe the order; nothing is read yet.

        Args:
            source: see `OrderSource`. It deals to no ranks and makes no batches: the loader does. It may have fewer or
                more entries than there are samples; a sample may occur several times.
            length: number of samples: indices are 0 … length - 1.
            seed: of the generators.

        Raises:
            ConfigError: `source` is none of these.
        """
        _check_source(source)
        self._source = source
        self._length = length
        self._seed = seed
        self._read: dict[int, Sequence[int]] = {}
        self._digests: dict[int, str] = {}

    @property
    def samples(self) -> int:
        return self._length

    @property
    def unit(self) -> int | None:
        return None

    def of_epoch(self, epoch: int) -> Sequence[int]:
        """The order of an epoch.

        A sequence that lies or is computed elsewhere (a `numpy.memmap`, a `range`, a class with ``__len__`` and
        ``__getitem__``) is not copied, and its entries are checked when they are used: that raises ConfigError then.
        Anything else is checked and copied here, so that a function may use its list again.

        Raises:
            ConfigError: there is no entry, one is no whole number, or one is no index of a sample.
        """
        if epoch not in self._read:
            order = _admit(self._ask(epoch), self._length, f"order of epoch {epoch}")
            # The epoch that drains while the next one is read ahead is the one that was read last.
            kept = list(self._read.items())[-(_KEPT_EPOCHS - 1) :]
            self._read = {**dict(kept), epoch: order}
            self._digests = {key: value for key, value in self._digests.items() if key in self._read}
        return self._read[epoch]

    def describe(self) -> dict[str, Any]:
        return {"order": "custom", "length": self._length}

    def digest(self, epoch: int) -> str | None:
        """A short hash of the epoch's order: of all of it, or of 64 entries of one that is not in memory."""
        order = self.of_epoch(epoch)
        if epoch not in self._digests:
            if isinstance(order, _CheckedSequence):
                probes = np.linspace(0, len(order) - 1, min(_PROBES, len(order)), dtype=np.int64)
                entries = np.array([order[place] for place in probes.tolist()])
            else:
                entries = np.asarray(order)
            state = hashlib.blake2b(f"{len(order)}:".encode(), digest_size=8)
            state.update(entries.astype("<i8", copy=False).data)
            self._digests[epoch] = state.hexdigest()
        return self._digests[epoch]

    def _ask(self, epoch: int) -> Sequence[int]:
        seed = int.from_bytes(hashlib.blake2b(f"{self._seed}:{epoch}".encode(), digest_size=4).digest(), "little")
        with _seeded(self._source, seed):
            if hasattr(self._source, "set_epoch"):
                self._source.set_epoch(epoch)
            entries = self._source(epoch) if _is_function(self._source) else cast("Iterable[int]", self._source)
            return entries if _is_sequence(entries) else _drain(entries, f"order of epoch {epoch}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": {}, "_digests": {}}


class _CheckedSequence(ComputedSequence):
    """Somebody else's sequence, whose entries are looked at when they are used."""

    def __init__(self, entries: Sequence[int], length: int, name: str) -> None:
        self._entries = entries
        self._length = length
        self._name = name

    def __len__(self) -> int:
        return len(self._entries)

    def _at(self, position: int) -> int:
        index = self._entries[position]
        try:
            index = operator.index(index)
        except TypeError as error:
            raise ConfigError(f"{self._name}: position {position} must hold a whole number, not {index!r}") from error
        if not 0 <= index < self._length:
            raise _out_of_range(self._name, position, index, self._length)
        return index


def _check_source(source: object) -> None:
    name = type(source).__name__
    if isinstance(source, type):
        raise ConfigError(f"order must be a sampler or a function, not a class: {source.__name__}(…) may be meant")
    if isinstance(source, DistributedSampler) or getattr(source, "world_size", 1) > 1:
        raise ConfigError(f"order: {name} deals to ranks, which the loader does itself; give the sampler of one rank")
    if isinstance(source, BatchSampler):
        raise ConfigError(f"order: {name} makes batches, which the loader does itself; give the sampler inside")
    if isinstance(source, Iterator):
        raise ConfigError(f"order: {name} can be read only once, and every epoch reads it; give a list or a function")
    if isinstance(source, str | bytes) or not (callable(source) or hasattr(source, "__iter__") or _is_sequence(source)):
        raise ConfigError(f"order must be an Ordering, a sampler, indices or a function of the epoch, not {source!r}")


def _is_function(source: OrderSource) -> TypeGuard[Callable[[int], Iterable[int]]]:
    return callable(source) and not hasattr(source, "__iter__") and not hasattr(source, "__getitem__")


def _is_sequence(entries: object) -> TypeGuard[Sequence[int]]:
    return hasattr(entries, "__len__") and hasattr(entries, "__getitem__") and not isinstance(entries, Sampler)


def _drain(entries: Iterable[int], name: str) -> array[int]:
    """Read an iterable to its end, which it must come to: mmengine's endless samplers have a length, too."""
    try:
        size = len(cast("Sequence[int]", entries))
    except (TypeError, NotImplementedError):
        size = None
    try:
        read = array("q", islice(entries, None if size is None else size + 1))
    except (TypeError, OverflowError) as error:
        raise ConfigError(f"{name}: {type(entries).__name__} must give whole numbers: {error}") from error
    if size is not None and len(read) > size:
        raise ConfigError(f"{name}: {type(entries).__name__} gives more than the {size} entries of its length")
    return read


def _admit(entries: Sequence[int], length: int, name: str) -> Sequence[int]:
    """The entries as a sequence that gives indices of samples or raises."""
    if not len(entries):
        raise ConfigError(f"{name} is empty: there is nothing to load")
    if not _is_in_memory(entries):
        checked = _CheckedSequence(entries, length, name)
        # Most mistakes show at the ends, and now is better than in the middle of an epoch.
        checked[0], checked[len(checked) - 1]
        return checked
    values = _as_array(entries, name)
    wrong = (values < 0) | (values >= length)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise _out_of_range(name, first, values[first], length)
    return cast("Sequence[int]", values.astype(np.int64))


def _is_in_memory(entries: object) -> bool:
    return isinstance(entries, list | tuple | array | np.ndarray | torch.Tensor) and not isinstance(entries, np.memmap)


def _as_array(entries: Sequence[int], name: str) -> NDArray[Any]:
    try:
        values = np.asarray(entries)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} must hold one whole number per position: {error}") from error
    if values.ndim != 1 or values.dtype.kind not in "iu":
        what = f"an array of shape {values.shape} and type {values.dtype}"
        raise ConfigError(f"{name} must hold one whole number per position, not {what}")
    return values


def _out_of_range(name: str, position: int, index: int, length: int) -> ConfigError:
    return ConfigError(f"{name}: position {position} holds {index}, which is no index of {length} samples")


@contextmanager
def _seeded(source: object, seed: int) -> Iterator[None]:
    """Seed every generator that a source may draw from, and put them back afterwards."""
    with ExitStack() as stack:
        stack.callback(np.random.set_state, np.random.get_state())
        np.random.seed(seed)
        stack.callback(random.setstate, random.getstate())
        random.seed(seed)
        for generator in (torch.default_generator, *_generators_of(source)):
            if isinstance(generator, torch.Generator):
                stack.callback(generator.set_state, generator.get_state())
                generator.manual_seed(seed)
            elif isinstance(generator, np.random.RandomState):
                stack.callback(generator.set_state, generator.get_state())
                generator.seed(seed)
            elif isinstance(generator, random.Random):
                stack.callback(generator.setstate, generator.getstate())
                generator.seed(seed)
            else:
                bits: Any = generator.bit_generator
                stack.callback(setattr, bits, "state", bits.state)
                bits.state = type(bits)(seed).state
        yield


def _generators_of(source: object) -> Iterator[_Generator]:
    """The generators that a sampler has as attributes, and those of samplers inside it."""
    for value in getattr(source, "__dict__", {}).values():
        is_random = isinstance(value, torch.Generator | np.random.Generator | np.random.RandomState)
        if is_random or type(value) is random.Random:
            yield value
        elif isinstance(value, Sampler):
            yield from _generators_of(value)
