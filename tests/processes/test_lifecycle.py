"""However a training script ends, with workers or without: in time, as a script of its kind ends, and with no orphan.

The matrix has 137 cases. Without ``ASYNCIO_LOADER_MATRIX=full`` those run that have every pair of values among them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.testing import S3Simulator
from tests.processes.conftest import SUMMARY
from tests.processes.lifecycle_case import OBJECTS, Case, key

ROOT = Path(__file__).parents[2]
CASE = "tests.processes.lifecycle_case"

STARTS = ["fork", "spawn", "forkserver"]
# What is sent, and to whom. A Ctrl-C in a terminal reaches all of a job's processes, `kill` one.
SIGNALS = {
    "SIGINT": signal.SIGINT,
    "ctrl-c": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "kill-main": signal.SIGKILL,
    "kill-worker": signal.SIGKILL,
}
EVENTS = ["break", "exception", "gc", "exit", *SIGNALS]

# How a script ends upon each: its status, as `subprocess` has it, and the last line of its standard error. A shell says
# 130 for -2 and 143 for -15.
ENDS = {
    "break": (0, ""),
    "exception": (1, "RuntimeError: the training step failed"),
    "gc": (0, ""),
    "exit": (0, ""),
    "SIGINT": (-signal.SIGINT, "KeyboardInterrupt"),
    "ctrl-c": (-signal.SIGINT, "KeyboardInterrupt"),
    "SIGTERM": (-signal.SIGTERM, ""),
    "kill-main": (-signal.SIGKILL, ""),
    "kill-worker": (1, "RuntimeError: DataLoader worker"),
}

# Until a script is in its loop, its workers too, on a busy machine; from the event to its end, of which torch takes up
# to 10 s where a killed worker's lock or a forkserver is involved; and what the design allows an orphan.
START_S, END_S, ORPHAN_S = 90.0, 30.0, 2.0
LANES = 2


def all_cases() -> list[Case]:
    workers = [
        Case("workers", event, start, count, persistent)
        for start, count, persistent, event in itertools.product(STARTS, (1, 2), (False, True), EVENTS)
    ]
    alone = [event for event in EVENTS if event not in ("kill-worker", "ctrl-c")]
    return [
        *workers,
        *(Case("alone", event) for event in alone),
        *(Case("loader", event, threads=threads) for threads, event in itertools.product((1, 2), alone)),
        *(Case("beside", event, "fork", 2) for event in EVENTS if event != "ctrl-c"),
    ]


def pairwise_cases() -> list[Case]:
    """Of the workers all pairs, with as few processes that import torch as may be; of the rest one case per event."""
    events = [event for event in EVENTS if event != "ctrl-c"]
    usual, other = {"fork": 2, "spawn": 1, "forkserver": 1}, {"fork": 1, "spawn": 2, "forkserver": 2}
    workers = [
        Case("workers", event, start, (other if event == "exit" else usual)[start], (n + STARTS.index(start)) % 2 == 1)
        for n, event in enumerate(events)
        for start in STARTS
    ]
    alone = [event for event in EVENTS if event not in ("kill-worker", "ctrl-c")]
    return [
        *workers,
        Case("workers", "ctrl-c", "fork", 2),
        *(Case("alone", event) for event in alone),
        *(Case("loader", event, threads=1 + n % 2) for n, event in enumerate(alone)),
        *(Case("beside", event, "fork", 2) for event in ("break", "SIGINT", "kill-main")),
    ]


CASES = all_cases() if os.environ.get("ASYNCIO_LOADER_MATRIX") == "full" else pairwise_cases()


@dataclass(frozen=True)
class End:
    """What became of a script. `hung`: it had to be killed. `orphans`: what ran on after it."""

    status: int | None
    stderr: str
    took_s: float
    hung: bool
    orphans: list[str]


class Template:
    """A process that has imported torch, and forks a script for each case."""

    def __init__(self, endpoint_url: str, environ: Mapping[str, str]) -> None:
        # `python -m` puts the working directory on the path of the workers that are spawned, too.
        command = [
            sys.executable,
            "-W",
            "always::ResourceWarning",
            "-m",
            "tests.processes.lifecycle_case",
            endpoint_url,
        ]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._read = b""

    def run(self, case: Case) -> End:
        """Run it to its end, and look for orphans."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case.dump()}\n".encode())
        self._process.stdin.flush()
        pid = self._told("pid", START_S)
        try:
            workers = self._told("ready", START_S)
        except (AssertionError, TimeoutError) as error:
            kill_all(pid)
            error.add_note(Path(case.stderr).read_text())
            raise
        if case.event == "ctrl-c":
            os.killpg(pid, signal.SIGINT)
        elif case.event in SIGNALS:
            assert len(workers) == case.workers
            os.kill(workers[0] if case.event == "kill-worker" else pid, SIGNALS[case.event])
        started_s = time.monotonic()
        hung = False
        try:
            status = self._told("status", END_S)
        except TimeoutError:
            hung = True
            kill_all(pid)
            status = self._told("status", END_S)
        took_s = time.monotonic() - started_s
        orphans = left_of(pid, ORPHAN_S)
        kill_all(pid)
        return End(status, Path(case.stderr).read_text().strip(), took_s, hung, orphans)

    def close(self) -> None:
        with self._process as process:
            process.kill()

    def _told(self, name: str, timeout_s: float) -> Any:
        until_s = time.monotonic() + timeout_s
        while True:
            line, end, rest = self._read.partition(b"\n")
            if end:
                self._read = rest
                said = json.loads(line)
                if name in said:
                    return said[name]
                if "status" in said:
                    raise AssertionError(f"it ended with status {said['status']} before it was {name}")
                continue
            assert self._process.stdout is not None
            if not select.select([self._process.stdout], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise TimeoutError(name)
            self._read += (data := os.read(self._process.stdout.fileno(), 65536))
            assert data, "the template is gone"


def session(leader: int) -> dict[int, str]:
    """The live processes of a session, and what they are called."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            # The name in parentheses may hold anything; then: state, parent, group, session (proc(5)).
            state, _, _, of = text[text.rindex(")") + 2 :].split()[:4]
            if int(of) == leader and state not in "ZX":
                found[int(path.parent.name)] = (path.parent / "cmdline").read_text().replace("\0", " ")
    return found


def left_of(leader: int, timeout_s: float) -> list[str]:
    """What is still there of a session after so many seconds, or earlier if nothing is."""
    until_s = time.monotonic() + timeout_s
    while there := session(leader):
        wait_s = until_s - time.monotonic()
        if wait_s <= 0:
            return [f"{pid} {name}" for pid, name in there.items()]
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(next(iter(there)))
            select.select([handle], [], [], wait_s)
            os.close(handle)
    return []


def kill_all(leader: int) -> None:
    for pid in session(leader):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dict[Case, Future[End]]]:
    """All cases that were asked for, on two lanes, since a script mostly waits."""
    asked = [
        item.callspec.params["case"]
        for item in request.session.items
        if getattr(item, "callspec", None) and isinstance(item.callspec.params.get("case"), Case)
    ]
    errors = tmp_path_factory.mktemp("stderr")
    body = b"x" * 1000
    with (
        S3Simulator(((key(number), body) for number in range(OBJECTS)), median_s=0.005) as simulator,
        contextlib.ExitStack() as undo,
        ThreadPoolExecutor(LANES) as lanes,
    ):
        free: queue.SimpleQueue[Template] = queue.SimpleQueue()
        for _ in range(LANES):
            template = Template(simulator.endpoint_url, simulator.environ)
            undo.callback(template.close)
            free.put(template)

        def run(number: int, case: Case) -> End:
            template = free.get()
            try:
                return template.run(replace(case, stderr=str(errors / str(number))))
            finally:
                free.put(template)

        ended = {case: lanes.submit(run, number, case) for number, case in enumerate(asked)}
        yield ended
        lanes.shutdown(cancel_futures=True)
    passed = [future for case, future in ended.items() if future.done() and fault_of(case, future) == ""]
    slowest_s = max((future.result().took_s for future in passed), default=0.0)
    request.config.stash[SUMMARY] = (
        f"lifecycle: {len(passed)} of {len(ended)} cases passed, slowest end after {slowest_s:.1f} s"
    )


def fault_of(case: Case, future: Future[End]) -> str:
    """What is wrong with an end; nothing, if it is as it should be."""
    if future.cancelled():
        return "not run"
    if (error := future.exception()) is not None:
        return "\n".join([repr(error), *getattr(error, "__notes__", [])])
    end = future.result()
    status, last = ENDS[case.event]
    # What a killed process leaves of semaphores is freed by multiprocessing's tracker, which says so.
    said = ["", *(line for line in end.stderr.splitlines() if "resource_tracker" not in line)][-1]
    is_said = said.startswith(last) if last else not said
    if end.hung or end.orphans or end.status != status or not is_said:
        return f"hung: {end.hung}, orphans: {end.orphans}, status: {end.status}, standard error:\n{end.stderr}"
    return ""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_script_ends_as_it_should_and_leaves_nothing(case: Case, ends: dict[Case, Future[End]]) -> None:
    with contextlib.suppress(Exception):
        ends[case].result()

    assert fault_of(case, ends[case]) == ""


def test_the_cases_that_always_run_have_all_pairs() -> None:
    def pairs(cases: list[Case]) -> set[tuple[tuple[str, object], ...]]:
        of_workers = [case for case in cases if case.kind == "workers" and case.event != "ctrl-c"]
        names = ("event", "start", "workers", "persistent")
        return {
            ((a, getattr(case, a)), (b, getattr(case, b)))
            for case in of_workers
            for a, b in itertools.combinations(names, 2)
        }

    assert pairs(pairwise_cases()) == pairs(all_cases())
    assert set(pairwise_cases()) <= set(all_cases())
