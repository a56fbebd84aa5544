from __future__ import annotations

import os
import time
from typing import Any

import pytest

from bench.measure import MIB, MemoryWatch, call_in_fresh_process, cost_of, memory_bytes, memory_in_use


def test_cost_counts_the_work_of_a_block() -> None:
    with cost_of() as cost:
        started_s = time.process_time()
        while time.process_time() < started_s + 0.02:
            pass

    assert cost.cpu_s >= 0.02
    assert cost.wall_s >= 0.02


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_memory_sees_what_is_allocated() -> None:
    with MemoryWatch() as watch:
        before = memory_bytes()
        block = bytearray(b"x" * (64 * MIB))
        after = memory_bytes()

    assert len(block) == 64 * MIB
    assert after - before > 50 * MIB
    assert memory_bytes("VmHWM") >= after
    assert all(sample > 0 for sample in watch.samples_bytes)


def test_use_is_what_is_held_and_not_what_was() -> None:
    before = memory_in_use()
    blocks = [bytes(100_000) for _ in range(50)]
    names = [f"number {n}" for n in range(30_000)]
    held = memory_in_use()

    assert held.heap_bytes - before.heap_bytes == pytest.approx(50 * 100_000, rel=0.2)
    assert held.objects - before.objects == pytest.approx(30_000, rel=0.1)
    del blocks, names
    after = memory_in_use()
    assert abs(after.heap_bytes - before.heap_bytes) < 500_000
    assert abs(after.objects - before.objects) < 3_000


def test_a_fresh_process_gets_arguments_and_environment(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "described.py").write_text(
        "import os\ndef describe(**arguments):\n"
        "    print('a library that talks')\n"
        "    return [os.getpid(), arguments, os.environ['BENCH_TEST']]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pid, arguments, variable = call_in_fresh_process("described:describe", environ={"BENCH_TEST": "yes"}, a=1, b=[2])

    assert pid != os.getpid()
    assert (arguments, variable) == ({"a": 1, "b": [2]}, "yes")


def test_a_failure_in_a_fresh_process_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="json:nothing failed in its process"):
        call_in_fresh_process("json:nothing")

    assert "AttributeError" in capfd.readouterr().err


def test_a_fresh_process_that_takes_too_long_is_killed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stuck.py").write_text("import threading\ndef wait():\n    threading.Event().wait()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(RuntimeError, match=r"stuck:wait took more than 0\.5 s"):
        call_in_fresh_process("stuck:wait", timeout_s=0.5)
