"""Samples drawn with replacement, by weight."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asyncio_loader.checks import whole_number
from asyncio_loader.errors import ConfigError
from asyncio_loader.order.computed import ComputedSequence

__all__ = ["Weighted"]


class Weighted:
    """Draws with replacement: each position of each epoch is drawn by itself, a sample in proportion to its weight.

    The draw is a function of (seed, epoch, position), so a position costs the same wherever it stands and nothing is
    drawn ahead. Memory: 8 bytes per sample. Immutable, picklable, safe to share between threads.
    """

    def __init__(self, weights: ArrayLike, length: int | None = None, seed: int = 0) -> None:
        """Check and add up the weights.

        Args:
            weights: one number per sample, finite and 0 or more, not all 0. A sample of weight 0 is never drawn.
            length: number of draws per epoch; None: as many as there are samples.
            seed: of the draws.

        Raises:
            ConfigError: a weight is wrong; it is named with its index.
        """
        with np.errstate(over="ignore"):
            self._cumulative = np.cumsum(_check_weights(weights))
        if not np.isfinite(self._cumulative[-1]) or self._cumulative[-1] == 0:
            raise ConfigError(f"weights must have a finite sum above 0, not {self._cumulative[-1]}")
        self._cumulative.setflags(write=False)
        self.length = len(self._cumulative) if length is None else whole_number("length", length, least=1)
        self.seed = whole_number("seed", seed)

    @property
    def samples(self) -> int:
        return len(self._cumulative)

    @property
    def unit(self) -> int | None:
        return None

    def of_epoch(self, epoch: int) -> Sequence[int]:
        return _Draws(self._cumulative, self.length, f"{self.seed}:{epoch}")

    def describe(self) -> dict[str, Any]:
        return {"order": "weighted", "length": self.length, "seed": self.seed, "weights": self._weights_digest}

    def digest(self, epoch: int) -> str | None:
        return None

    @cached_property
    def _weights_digest(self) -> str:
        return hashlib.blake2b(self._cumulative.astype("<f8").tobytes(), digest_size=8).hexdigest()


class _Draws(ComputedSequence):
    __slots__ = ("_cumulative", "_hash", "_length", "_total")

    def __init__(self, cumulative: NDArray[np.float64], length: int, key: str) -> None:
        self._cumulative = cumulative
        self._length = length
        self._total = float(cumulative[-1])
        self._hash = hashlib.blake2b(key.encode(), digest_size=8, person=b"al-draw")

    def __len__(self) -> int:
        return self._length

    def _at(self, position: int) -> int:
        state = self._hash.copy()
        state.update(b":%d" % position)
        # 53 bits: what a double holds. The product stays below the total in every rounding.
        uniform = (int.from_bytes(state.digest(), "little") >> 11) * 2.0**-53
        return bisect_right(self._cumulative, uniform * self._total)


def _check_weights(weights: ArrayLike) -> NDArray[np.float64]:
    try:
        values = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"weights must be numbers: {error}") from error
    if values.ndim != 1 or not len(values):
        raise ConfigError(f"weights must be one number per sample, not an array of shape {values.shape}")
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ConfigError(f"weights[{first}] must be a finite number of 0 or more, not {values[first]}")
    return values
