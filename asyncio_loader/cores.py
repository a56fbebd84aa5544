"""How many cores there are for this process."""

from __future__ import annotations

import os

__all__ = ["count_cores"]


def count_cores() -> int:
    """The cores that this process may run on; those of the machine where the platform does not bind a process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
