"""With a stand-in for the interpreter, which answers what the measuring process could."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import DecodeError, LoaderError
from asyncio_loader.tuning import process
from asyncio_loader.tuning.measurement import Measurement, Task
from asyncio_loader.tuning.process import Told, measure_in_process
from tests.unit.tuning.conftest import Measured


class Answers:
    """What the stand-in does, as Python; the task it was given; the pid it had."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.script = directory / "answer.py"
        interpreter = directory / "python"
        interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{self.script}" "$@"\n')
        interpreter.chmod(0o755)
        monkeypatch.setattr(process.sys, "executable", str(interpreter))

    def does(self, code: str) -> None:
        start = f"import json, os, sys, time\nopen({str(self.directory / 'seen')!r}, 'w').write(sys.stdin.read())\n"
        start += f"open({str(self.directory / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        start += "def say(**what):\n    print(json.dumps(what), flush=True)\n"
        self.script.write_text(start + code)

    @property
    def task(self) -> Task:
        return Task.load((self.directory / "seen").read_text())

    @property
    def is_gone(self) -> bool:
        try:
            os.kill(int((self.directory / "pid").read_text()), 0)
        except ProcessLookupError:
            return True
        return False


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(tmp_path, monkeypatch)


def test_the_task_goes_there_and_progress_and_measurement_come_back(
    answers: Answers, task: Task, measured: Measured
) -> None:
    expected: Measurement = measured(16, 400)
    answers.does(f"say(progress={{'samples': 3}})\nsay(measurement={dataclasses.asdict(expected)!r})\ntime.sleep(60)")
    told: list[Told | None] = []

    assert measure_in_process(task, told.append) == expected
    assert [each for each in told if each is not None] == [{"samples": 3}]
    assert answers.task == task
    assert answers.is_gone


def test_an_error_of_the_loader_keeps_its_class(answers: Answers, task: Task) -> None:
    answers.does("say(error={'type': 'DecodeError', 'message': 'a.jpg: broken'})")

    with pytest.raises(DecodeError, match=r"^a\.jpg: broken$"):
        measure_in_process(task, lambda _: None)


def test_an_error_that_nobody_expects_is_shown_as_it_is(answers: Answers, task: Task) -> None:
    answers.does("raise ZeroDivisionError('a bug')")

    with pytest.raises(RuntimeError, match="exit status 1") as raised:
        measure_in_process(task, lambda _: None)

    assert not isinstance(raised.value, LoaderError)
    assert "ZeroDivisionError: a bug" in raised.value.__notes__[0]


def test_silence_is_told_and_an_interrupt_ends_the_process(answers: Answers, task: Task) -> None:
    answers.does("time.sleep(60)")

    def interrupt(told: Any) -> None:
        assert told is None
        # Not before it has begun.
        if (answers.directory / "pid").exists() and (answers.directory / "pid").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_in_process(task, interrupt)

    assert answers.is_gone


def test_what_comes_in_pieces_is_put_together(answers: Answers, task: Task, measured: Measured) -> None:
    line = json.dumps({"measurement": dataclasses.asdict(measured(16, 400))})
    answers.does(f"for c in {line!r} + chr(10):\n    sys.stdout.write(c)\n    sys.stdout.flush()")

    assert measure_in_process(task, lambda _: None) == measured(16, 400)
