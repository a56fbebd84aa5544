"""What this machine gives the process: cores and files."""

from __future__ import annotations

import math
import os

from asyncio_loader.cores import count_cores, cpu_quota
from asyncio_loader.doctor.findings import Finding
from asyncio_loader.options import FetchOptions

__all__ = ["check_cores", "check_files"]

# Annotation files, logs, libraries, pipes to workers.
_OTHER_FILES = 64


def check_cores() -> Finding:
    """The cores that may be used, and whether a quota of the container allows less than all of their time."""
    return judge_cores(count_cores(), cpu_quota())


def judge_cores(cores: int, quota: float | None) -> Finding:
    """See `check_cores`."""
    if quota is None or quota >= cores:
        return Finding("ok", "cores", f"{cores} that this process may use, no quota below that")
    threads = max(1, math.floor(quota))
    return Finding(
        "warning",
        "cores",
        f"{cores}, but the container may use the time of {quota:g}: more threads than that are stopped again and again",
        f"set threads={threads} of a Loader (workers_per_gpu={threads} of a config) or raise the container's CPU limit",
    )


def check_files(in_flight: int) -> Finding:
    """Whether as many files may be open as connections are made, one each.

    Args:
        in_flight: GETs at the same time that are made here.
    """
    try:
        import resource
    except ImportError:
        return Finding("ok", "files", "this platform has no limit of open files per process")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return judge_files(
        math.inf if soft == unlimited else soft, math.inf if hard == unlimited else hard, _open_files(), in_flight
    )


def judge_files(soft: float, hard: float, opened: int, in_flight: int) -> Finding:
    """See `check_files`.

    Args:
        soft: files that may be open, those open now included.
        hard: what the process may raise that to.
        opened: how many are open.
        in_flight: see `check_files`.
    """
    options = FetchOptions()
    most = options.most_in_flight
    wanted = math.ceil(most * (1 + options.hedge)) + opened + _OTHER_FILES
    text = f"{_number(soft)} may be open, {opened} are"
    if soft >= wanted:
        return Finding("ok", "files", f"{text}; the loader opens up to {most} connections")
    least = in_flight + opened + _OTHER_FILES
    advice = (
        f"ulimit -n {_number(min(hard, max(4096, wanted)))}"
        if hard >= wanted
        else f"raise the hard limit, which is {_number(hard)} (limits.conf; docker run --ulimit nofile=4096)"
    )
    low = soft < least
    return Finding(
        "failed" if low else "warning",
        "files",
        f"{text}; {f'too few for {in_flight}' if low else f'the loader opens up to {most}'} connections",
        f"{advice}, or set FetchOptions.max_in_flight={max(1, int(soft) - opened - _OTHER_FILES)}",
    )


def _number(value: float) -> str:
    return "any number" if math.isinf(value) else f"{value:g}" if value < 1e5 else f"{int(value)}"


def _open_files() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        # Standard input, output and error, at the least.
        return 3
