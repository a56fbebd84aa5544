from __future__ import annotations

import hashlib
import sys
import time

from bench.gil import longest_hold_s


def test_a_call_into_c_that_keeps_the_gil_is_found() -> None:
    numbers = range(1_000_000)

    assert longest_hold_s(lambda: sum(numbers), runs=3) > 0.003


def test_a_call_that_lets_go_of_the_gil_is_none() -> None:
    data = bytes(64_000_000)
    started_s = time.perf_counter()
    hashlib.sha256(data)
    half_s = (time.perf_counter() - started_s) / 2

    assert longest_hold_s(lambda: hashlib.sha256(data), enough_s=half_s) < half_s


def test_the_switch_interval_is_as_before() -> None:
    before = sys.getswitchinterval()
    longest_hold_s(lambda: None, runs=1)

    assert before == sys.getswitchinterval()
