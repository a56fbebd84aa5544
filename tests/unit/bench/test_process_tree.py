from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.measure import MIB, call_in_fresh_process
from bench.process_tree import MemoryPeak, cpu_seconds, descendants

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's /proc"),
    pytest.mark.usefixtures("only_own_children"),
]

WORK_S = 0.1
BLOCK_BYTES = 64 * MIB


@contextmanager
def child(statement: str) -> Iterator[int]:
    """A process that has done something, and waits."""
    code = f"import time\n{statement}\nprint('done', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process.pid
        process.kill()


def test_children_are_found() -> None:
    with child("pass") as pid:
        assert pid in descendants()

    assert pid not in descendants()


def test_the_time_of_a_child_counts_while_it_lives_and_after() -> None:
    before_s = cpu_seconds()
    with child(f"while time.process_time() < {WORK_S}: pass"):
        alive_s = cpu_seconds() - before_s
    after_s = cpu_seconds() - before_s

    assert alive_s >= WORK_S * 0.8
    assert after_s >= alive_s


def hold_for_a_moment() -> tuple[int, int]:
    with MemoryPeak() as memory:
        block = bytearray(b"x" * BLOCK_BYTES)
        del block
    return memory.grown_bytes, memory.processes


def hold_in_a_child() -> tuple[int, int]:
    with MemoryPeak() as memory, child(f"block = bytearray(b'x' * {BLOCK_BYTES})"):
        memory.sample()
    return memory.grown_bytes, memory.processes


# In a process of its own: here, what earlier tests have left may be freed at the same time.
def test_memory_that_is_gone_again_counts() -> None:
    grown_bytes, processes = call_in_fresh_process(f"{__name__}:hold_for_a_moment")

    assert grown_bytes > 0.8 * BLOCK_BYTES
    assert processes == 1


def test_memory_of_a_child_counts() -> None:
    grown_bytes, processes = call_in_fresh_process(f"{__name__}:hold_in_a_child")

    assert grown_bytes > 0.8 * BLOCK_BYTES
    assert processes == 2
