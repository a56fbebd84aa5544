"""The measuring process: ``python -m asyncio_loader.tuning PARENT``, started by `process.measure_in_process`.

PARENT is the process id of whoever started it; where the system can, it ends with that one, however that ends. The
task comes by standard input. What it has to say goes to the standard output, a JSON document a line: progress, then
the measurement, or the error of the loader's that ended it. An error that nobody expects is a traceback.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any, TextIO

from asyncio_loader.errors import LoaderError
from asyncio_loader.tuning.flows import open_flow
from asyncio_loader.tuning.measurement import Task
from asyncio_loader.tuning.probe import measure

_PR_SET_PDEATHSIG = 1


def main(text: str, answers: TextIO) -> None:
    """Measure a task."""

    def say(kind: str, value: dict[str, Any]) -> None:
        print(json.dumps({kind: value}), file=answers, flush=True)

    task = Task.load(text)
    try:
        measurement = measure(
            open_flow(task),
            concurrency=task.options.most_in_flight,
            processes=max(1, task.workers),
            seconds=task.seconds,
            tell=lambda progress: say("progress", asdict(progress)),
        )
    except LoaderError as error:
        say("error", {"type": type(error).__name__, "message": str(error)})
    else:
        say("measurement", asdict(measurement))


def _claim_stdout() -> TextIO:
    """The standard output for the answers alone: what libraries and workers print goes with the errors."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _end_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was gone before.
        sys.exit(1)


if __name__ == "__main__":
    # A worker that is spawned imports this module, too, under another name.
    _end_with(int(sys.argv[1]))
    with _claim_stdout() as stream:
        main(sys.stdin.read(), stream)
