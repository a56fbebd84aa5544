"""What a checkpoint may hold and still be read without running code: tensors, numpy's values, mmengine's history."""

from __future__ import annotations

import importlib.util
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch.serialization import get_safe_globals, safe_globals

__all__ = ["Allowance", "safe_types"]

# The reconstructors have moved between numpy's modules, and a file has the name of the numpy that wrote it.
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_DTYPES = "? b B h H i I l L q Q e f d g F D U S"


class Allowance:
    """Allows `safe_types` to torch while at least one block of it runs, and leaves what others allowed as it was.

    torch keeps one set for the process, and its own context manager takes from it what it was given, whoever else had
    put the same in. Any number of threads may be in the block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._allowed = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                others = get_safe_globals()
                self._allowed.enter_context(safe_globals([kind for kind in safe_types() if kind not in others]))
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._allowed.close()


def safe_types() -> list[Any]:
    """Arguments of `torch.serialization.safe_globals`: what files of OpenMMLab hold besides what torch takes anyway.

    Without mmengine in the environment its `HistoryBuffer` is not among them.

    mmengine's own list has the built-in `getattr`, by which a pickle reads any attribute of anything on the list, and
    knows numpy's functions under their present names only; this one has neither flaw.
    """
    functions = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    moved = [(function, f"{module}.{name}") for module in _NUMPY_MODULES for name, function in functions.items()]
    dtypes = [type(np.dtype(code)) for code in _DTYPES.split()]
    return [*moved, np.ndarray, np.dtype, *dtypes, slice, *_history_types()]


def _history_types() -> list[Any]:
    if importlib.util.find_spec("mmengine") is None:
        return []
    from mmengine.logging import HistoryBuffer

    return [HistoryBuffer, (_read_statistic, "builtins.getattr")]


def _read_statistic(owner: object, name: str) -> object:
    """A `HistoryBuffer` pickles its methods as ``getattr(HistoryBuffer, "mean")``; nothing else is asked for."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith("_"):
        # torch reports it like any other type that is not on the list.
        raise AttributeError(f"getattr of {owner!r}")
    return getattr(owner, name)
