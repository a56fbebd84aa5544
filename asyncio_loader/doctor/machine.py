"""What this machine gives the process: cores and files."""

from __future__ import annotations

import math
import os

from asyncio_loader.cores import bound_cores, count_cores, cpu_quota
from asyncio_loader.doctor.findings import Finding
from asyncio_loader.options import FetchOptions

__all__ = ["check_cores", "check_files"]

# Annotation files, logs, libraries, pipes to workers.
_OTHER_FILES = 64


def check_cores() -> Finding:
    """The cores that may be used, and whether a quota of the container allows less than all of their time."""
    return judge_cores(bound_cores(), count_cores(), cpu_quota(), os.environ.get("OMP_NUM_THREADS"))


def judge_cores(bound: int, usable: int, quota: float | None, torch_threads: str | None) -> Finding:
    """See `check_cores`. Threads of ours heed the quota by themselves; those of torch and OpenMP do not.

    Args:
        bound: cores that the process may run on.
        usable: `count_cores` of them.
        quota: cores' worth of time that the container may use; None: all there is.
        torch_threads: what somebody has chosen for torch's own pools, if anything.
    """
    if quota is None or quota >= bound:
        return Finding("ok", "cores", f"{bound} that this process may use, no quota below that")
    text = f"{bound}, but the container may use the time of {quota:g}: a Loader has {_threads(usable)} unless told else"
    is_chosen = torch_threads is not None and torch_threads.isdecimal() and int(torch_threads) > 0
    of_torch = int(torch_threads or 0) if is_chosen else bound
    if of_torch <= usable:
        return Finding("ok", "cores", f"{text}, and so has torch")
    return Finding(
        "warning",
        "cores",
        f"{text}, but torch begins {of_torch}, which are stopped together again and again",
        f"set OMP_NUM_THREADS={usable} or raise the container's CPU limit",
    )


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


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
