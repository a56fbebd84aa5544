"""How many cores there are for this process: those it is bound to, and the time on them that its container may use."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["bound_cores", "count_cores", "cpu_quota"]


def count_cores(root: str | os.PathLike[str] = "/") -> int:
    """As many threads as this process can keep computing: `bound_cores`, or less where a container's quota is less.

    A quota of 1.5 counts as 2 cores: one thread would leave a third of it, two are stopped for a quarter of the time.

    Args:
        root: see `cpu_quota`.
    """
    quota = cpu_quota(root)
    return bound_cores() if quota is None else min(bound_cores(), math.ceil(quota))


def bound_cores() -> int:
    """The cores that this process may run on; those of the machine where the platform does not bind a process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: str | os.PathLike[str] = "/") -> float | None:
    """The cores' worth of time that the control groups of this process allow it, 1.5 for instance; None: all there is.

    It binds no core: threads beyond it run, and are then stopped together until the next period. Of nested groups the
    tightest counts ("CFS Bandwidth Control" and "Control Group v2", Linux kernel documentation).

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    return min(_quotas(Path(root)), default=None)


def _quotas(root: Path) -> Iterator[float]:
    for controllers, group in _groups(root):
        if controllers == "":
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # In a container the file of its own group may be the one at the top.
        names = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(names) + 1):
            with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                yield _read_quota(base.joinpath(*names[:depth]), is_unified=controllers == "")


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """Controllers and path of each control group; version 2 names no controllers."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        # Not Linux.
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        yield controllers, group


def _read_quota(directory: Path, *, is_unified: bool) -> float:
    """Raises OSError or ValueError where there is none."""
    if is_unified:
        quota_us, period_us = (directory / "cpu.max").read_text(encoding="utf-8").split()
    else:
        quota_us, period_us = (
            (directory / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
        )
    quota = int(quota_us) / int(period_us)
    if quota <= 0:
        raise ValueError("no quota")
    return quota
