"""How values go from process to process."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

__all__ = ["reduce_between_processes"]

_Value = TypeVar("_Value")


def reduce_between_processes(
    kind: type[_Value], reduce: Callable[[_Value], tuple[Callable[..., Any], tuple[Any, ...]]]
) -> None:
    """Have multiprocessing's queues, pipes and arguments, and nothing else, pickle values of a class by `reduce`.

    Idempotent, for this process and those forked of it. It does not reach subclasses. `reduce` is as
    ``object.__reduce__``: what to call in the other process, and with what.
    """
    ForkingPickler.register(kind, reduce)
