"""What a process costs: CPU time, memory, and a fresh process to measure them in."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "MIB",
    "Cost",
    "MemoryWatch",
    "Usage",
    "call_in_fresh_process",
    "cost_of",
    "memory_bytes",
    "memory_in_use",
]

MIB = 1024 * 1024
_ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_PAUSE_S = 0.02


@dataclass
class Cost:
    """Wall and CPU seconds of a block; the CPU time is that of all threads of this process."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def cost_of() -> Iterator[Cost]:
    """Measure a block; the figures are there when it has ended."""
    cost = Cost()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield cost
    cost.wall_s, cost.cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s


def memory_bytes(field_name: str = "VmRSS") -> int:
    """Memory of this process: ``VmRSS`` (resident now) or ``VmHWM`` (resident at the most, ever). Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field_name:
            return int(value.split()[0]) * 1024
    raise KeyError(field_name)


@dataclass(frozen=True, slots=True)
class Usage:
    """What somebody has asked for and not given back, however much the allocator holds for it.

    Attributes:
        heap_bytes: from the C library's allocator: buffers, tensors, arrays and bytes of more than 512 bytes.
        objects: blocks of Python's own allocator, as good as Python objects.
    """

    heap_bytes: int
    objects: int


def memory_in_use() -> Usage:
    """Of this process, after a collection of garbage; with glibc (2.33 or later) alone.

    Unlike resident memory it doesn't grow by what is fragmented or kept for the next request. What is mapped past the
    allocator, as a `BlockPool` does with blocks of a megabyte and more, isn't in it.
    """
    gc.collect()
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _MallInfo
    info = library.mallinfo2()
    return Usage(info.uordblks + info.hblkhd, sys.getallocatedblocks())


class _MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@dataclass
class MemoryWatch:
    """Samples the resident memory of this process from a thread, 50 times a second, as long as a block lasts."""

    samples_bytes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_SAMPLE_PAUSE_S):
            self.samples_bytes.append(memory_bytes())


def call_in_fresh_process(
    target: str, *, environ: Mapping[str, str] | None = None, timeout_s: float | None = None, **arguments: Any
) -> Any:
    """Call a function in a new interpreter, where nothing is warm, imported or fragmented by an earlier measurement.

    Args:
        target: ``module:function``.
        environ: environment variables to add.
        timeout_s: seconds after which it is killed, its end included; None: it may take as long as it likes.
        **arguments: keyword arguments of the function; they and the result cross as JSON.

    Raises:
        RuntimeError: it failed, and its output has gone to the standard error; or it took too long.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.measure", target, json.dumps(arguments)],
            env={**os.environ, **(environ or {}), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{target} took more than {timeout_s:g} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"{target} failed in its process (exit status {done.returncode})")
    # What a library prints comes before the result.
    return json.loads(done.stdout.splitlines()[-1])


def _answer_parent(target: str, arguments: str) -> None:
    module, _, function = target.partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    _answer_parent(sys.argv[1], sys.argv[2])
