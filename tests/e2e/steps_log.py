"""A training that writes down what each of its steps saw, and that can be killed in the middle. To be run by tests."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from asyncio_loader.config import load_config
from asyncio_loader.training.runner import TrainingReport, train

__all__ = ["Step", "StepsLog", "main", "read_steps", "train_logged"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one rank.

    Attributes:
        number: steps done, this one included, since the first one of the run.
        epoch: the loop's, from 0.
        place: number of the batch in its epoch.
        names: file names of the images, in their order.
        rate: learning rate of the step after this one, unless an epoch ends between them.
    """

    number: int
    epoch: int
    place: int
    names: tuple[str, ...]
    rate: float


# As `python -m` this module is imported twice where a config names it.
@HOOKS.register_module(force=True)
class StepsLog(Hook):  # type: ignore[misc]
    """Appends each step to the file ``<path>.<rank>``.

    A config has it as ``custom_hooks`` with this module among its ``custom_imports``.

    Args:
        path: of the log.
        kill_at: behind this step the process gets a SIGKILL.
        halt_at: behind this step it says ``halted <pid>`` on standard output, and waits for its end.
        rank: the only one that is killed or waits; None: all are.
    """

    # After the checkpoint and the schedulers.
    priority = "LOWEST"

    def __init__(
        self, path: str | Path, kill_at: int | None = None, halt_at: int | None = None, rank: int | None = None
    ) -> None:
        own = os.environ.get("RANK", "0")
        self._path = Path(f"{path}.{own}")
        is_meant = rank in (None, int(own))
        self._kill_at = kill_at if is_meant else None
        self._halt_at = halt_at if is_meant else None

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        _, targets = data_batch
        # In 3.x there is only the path.
        names = [target.get("ori_filename", target["filename"]) for target in targets]
        row = [runner.iter + 1, runner.epoch, batch_idx, names, runner.optim_wrapper.get_lr()["lr"][0]]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row)}\n")
        if runner.iter + 1 == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if runner.iter + 1 == self._halt_at:
            print(f"halted {os.getpid()}", flush=True)
            signal.pause()


def read_steps(path: Path, rank: int = 0) -> list[Step]:
    """What a `StepsLog` wrote."""
    lines = path.with_name(f"{path.name}.{rank}").read_text(encoding="utf-8").splitlines()
    return [
        Step(number, epoch, place, tuple(names), rate)
        for number, epoch, place, names, rate in (json.loads(line) for line in lines)
    ]


def train_logged(
    config: str | Path,
    work_dir: Path,
    options: dict[str, Any] | None = None,
    *,
    resume: bool = False,
    kill_at: int | None = None,
) -> TrainingReport:
    """Train with a `StepsLog` of the path ``<work_dir>.steps``."""
    log = StepsLog(work_dir.with_name(f"{work_dir.name}.steps"), kill_at)
    return train(load_config(config, options), work_dir=work_dir, resume=resume, hooks=[log], console=io.StringIO())


def main(arguments: Sequence[str] | None = None) -> None:
    """The same from the command line, for ``python -m`` and for torchrun."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int)
    given = parser.parse_args(arguments)
    train_logged(given.config, given.work_dir, resume=given.resume, kill_at=given.kill_at)


if __name__ == "__main__":
    main()
