"""A fresh process for each setting, where nothing is warm, open or fragmented by the one before."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import asyncio_loader
from asyncio_loader import errors
from asyncio_loader.errors import LoaderError
from asyncio_loader.tuning.measurement import Measurement, Task

__all__ = ["Told", "measure_in_process"]

Told = Mapping[str, Any]
"""The fields of a `probe.Progress`."""

# How often the caller may redraw its line, although nothing has come.
_LOOK_S = 0.2


def measure_in_process(task: Task, tell: Callable[[Told | None], object]) -> Measurement:
    """Measure a task in a process of its own, which is gone when this returns or raises.

    Args:
        task: what to measure.
        tell: called with each progress, and with None when there has been none for a while.

    Raises:
        LoaderError: what the loader raised there, of the same class. RuntimeError: a bug; the note is its traceback.
    """
    with tempfile.TemporaryFile() as said, _running(said) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(task.dump().encode())
        for line in _lines(process, lambda: tell(None)):
            match json.loads(line):
                case {"progress": progress}:
                    tell(progress)
                case {"error": {"type": name, "message": message}}:
                    kind: type[LoaderError] = getattr(errors, name, LoaderError)
                    raise kind(message)
                case {"measurement": fields}:
                    return Measurement(**fields)
        code = process.wait()
        said.seek(0)
        error = RuntimeError(f"the measuring process ended with exit status {code}")
        error.add_note(said.read().decode("utf-8", "replace").strip())
        raise error


@contextlib.contextmanager
def _running(said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # It shall find this very package, installed or not, and nothing that lies in the working directory (-P).
    root = str(Path(asyncio_loader.__file__).parent.parent)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    # In a session of its own a Ctrl-C in the terminal does not reach it, and its workers can be ended with it.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __package__, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env=environ,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # With its workers. When it has answered, nothing is open there, and the interpreter would take torch apart.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def _lines(process: subprocess.Popen[bytes], on_silence: Callable[[], object]) -> Iterator[bytes]:
    """Lines of its standard output until it closes it; `on_silence` is called when none comes for a moment."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    rest = b""
    while True:
        ready, _, _ = select.select([output], [], [], _LOOK_S)
        if not ready:
            on_silence()
            continue
        chunk = os.read(output, 65536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
