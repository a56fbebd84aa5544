"""One run on several ranks, as torchrun starts it: what each sees, who writes, and what a kill leaves to do."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from asyncio_loader.cli import main
from asyncio_loader.config import load_config
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.testing.simulator import S3Simulator
from asyncio_loader.testing.synthetic import write_synthetic_coco
from tests.e2e.steps_log import Step, read_steps
from tests.e2e.test_train import BASE, SMALL, one_torch_thread

__all__ = ["one_torch_thread"]

ROOT = Path(__file__).parents[2]
BUCKET = "train-ranks"

# On two ranks in batches of two the sixth step of an epoch has one image left, and one that is padding. What is left
# behind step 3, and a whole epoch, come out even on three ranks.
IMAGES, VAL_IMAGES, EPOCHS = 21, 3, 2
STEPS = 12
SAVED_AT, KILLED_AT = 3, 4
CONSUMED = SAVED_AT * 4

# A run that hangs is ended by pytest's own limit, and with it the ranks.
_END_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the runs of this module find their data and leave their checkpoints, and what is remembered of it."""

    data: S3Simulator
    s3: Any
    environ: dict[str, str]
    directory: Path

    def config(self, name: str, **changes: Any) -> Path:
        """The config file of a run, whose steps are logged."""
        hook = {"type": "StepsLog", "path": str(self.directory / f"{name}.steps"), **changes.pop("hook", {})}
        values: dict[str, Any] = {**SMALL, "custom_hooks": [hook]}
        values |= {"custom_imports": {"imports": ["tests.e2e.steps_log"], "allow_failed_imports": False}}
        values |= {"runner": {"type": "EpochBasedRunner", "max_epochs": EPOCHS, "_delete_": True}}
        values |= {"evaluation": None, "data.group_by_aspect": False}
        for split in ("train", "val"):
            values[f"data.{split}.data_root"] = self.data.uri("")
            values[f"data.{split}.file_client_args.endpoint_url"] = self.data.endpoint_url
        # It has no moments: a checkpoint is half as large.
        values["optimizer"] = {"type": "SGD", "lr": 0.001, "_delete_": True}
        values["lr_config"] = {"policy": "step", "step": [1], "warmup": "linear", "warmup_iters": 10, "_delete_": True}
        values |= {"checkpoint_config.by_epoch": False, "checkpoint_config.interval": SAVED_AT}
        values |= {"checkpoint_config.save_optimizer": True, "checkpoint_config.out_dir": f"s3://{BUCKET}/ckpt"}
        path = self.directory / f"{name}.py"
        load_config(BASE, {**values, **changes}).dump(path)
        return path

    def fetched(self) -> list[str]:
        """Names of the images that were asked for since the last call."""
        return [row.key.rpartition("/")[2] for row in self.data.requests(clear=True) if row.key.endswith(".jpg")]

    def steps(self, name: str, ranks: int) -> list[list[Step]]:
        """What each rank of a run logged. All took the same steps at the same rate."""
        logs = [read_steps(self.directory / f"{name}.steps", rank) for rank in range(ranks)]
        assert len({tuple((s.number, s.epoch, s.place, s.rate) for s in steps) for steps in logs}) == 1
        return logs

    def saved(self) -> dict[str, int]:
        """How often each checkpoint that is or was in the bucket was written."""
        found = self.s3.list_object_versions(Bucket=BUCKET).get("Versions", ())
        return dict(Counter(version["Key"] for version in found))


@pytest.fixture(scope="module")
def place(moto_server: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("ranks")
    keys = {"aws_access_key_id": moto_server.key_id, "aws_secret_access_key": moto_server.secret_key}
    s3 = boto3.client("s3", endpoint_url=moto_server.endpoint_url, region_name="us-east-1", **keys)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    coco = write_synthetic_coco(directory / "coco", images=IMAGES, val_images=VAL_IMAGES, size=64)
    environ = {**os.environ, **moto_server.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    # The first interface is loopback's. Gloo looks for an address by the name of the machine otherwise.
    environ["GLOO_SOCKET_IFNAME"] = socket.if_nameindex()[0][1]
    with S3Simulator(coco) as data:
        yield Place(data, s3, environ, directory)
    s3.close()


@contextlib.contextmanager
def torchrun(place: Place, ranks: int, *arguments: str | Path, **pipes: Any) -> Iterator[subprocess.Popen[str]]:
    """``torchrun --nproc-per-node <ranks> -m asyncio_loader train <arguments>``; at the end of the block it is over."""
    launcher = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(ranks)]
    command = [sys.executable, "-m", *launcher, "-m", "asyncio_loader", "train", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, env=place.environ, stdout=subprocess.PIPE, text=True, start_new_session=True, **pipes
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                # It ends its ranks, too.
                process.terminate()


def run(place: Place, ranks: int, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code and what was said, when the launcher and all ranks have ended."""
    with torchrun(place, ranks, *arguments, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate()
    return process.returncode, output, errors


def said_by_us(errors: str) -> list[str]:
    """Our lines on standard error, between torchrun's own."""
    return [line for line in errors.splitlines() if line.startswith("asyncio-loader:")]


def sequence(logs: list[list[Step]], epoch: int) -> list[str]:
    """The images of an epoch in their canonical order: step by step, those of one rank behind those of the other."""
    return [name for steps in zip(*logs, strict=True) for step in steps if step.epoch == epoch for name in step.names]


@dataclass(frozen=True, slots=True)
class Whole:
    """The run on two ranks that nothing interrupts."""

    code: int
    output: str
    errors: str
    fetched: list[str]
    logs: list[list[Step]]
    saved: dict[str, int]


@pytest.fixture(scope="module")
def whole(place: Place) -> Whole:
    evaluation = {"interval": 1, "metric": "bbox", "_delete_": True}
    config = place.config("whole", evaluation=evaluation)
    place.fetched()
    code, output, errors = run(place, 2, config, "--work-dir", place.directory / "whole")
    return Whole(code, output, errors, place.fetched(), place.steps("whole", 2), place.saved())


def test_every_image_is_seen_once_per_epoch_by_one_of_the_ranks(whole: Whole) -> None:
    assert whole.code == 0
    assert [(s.number, s.epoch, s.place) for s in whole.logs[0]] == [(n + 1, n // 6, n % 6) for n in range(STEPS)]
    for epoch in range(EPOCHS):
        names = sequence(whole.logs, epoch)
        assert len({*names[:IMAGES]}) == IMAGES
        # The last step of the second rank.
        assert names[IMAGES:] == names[:1]
    assert sequence(whole.logs, 0)[:IMAGES] != sequence(whole.logs, 1)[:IMAGES]


def test_ranks_fetch_what_they_see_and_nothing_else(whole: Whole) -> None:
    trained = [name for steps in whole.logs for step in steps for name in step.names]
    evaluated = Counter(whole.fetched) - Counter(trained)

    assert len(whole.fetched) == len(trained) + evaluated.total()
    assert len(trained) == EPOCHS * (IMAGES + 1)
    # Three images on two ranks: one of them is there a second time, as padding.
    assert (len(evaluated), evaluated.total()) == (VAL_IMAGES, EPOCHS * (VAL_IMAGES + 1))


def test_one_rank_speaks_and_writes(place: Place, whole: Whole) -> None:
    assert whole.errors == ""
    for step in range(1, 7):
        assert whole.output.count(f"Epoch(train) [1][{step}/6]") == 1
    assert len(re.findall(r"Epoch\(val\) \[2\]\[1/1\] +bbox_mAP: ", whole.output)) == 1
    # Nobody has written one of them twice, and all but the last were removed.
    assert whole.saved == {f"ckpt/whole/iter_{step}.pth": 1 for step in (3, 6, 9, STEPS)}
    kept = place.s3.list_objects_v2(Bucket=BUCKET, Prefix="ckpt/whole/")["Contents"]
    assert [entry["Key"] for entry in kept] == [f"ckpt/whole/iter_{STEPS}.pth"]
    (log,) = (place.directory / "whole").glob("*/*.log")
    assert log.read_text(encoding="utf-8").count("Epoch(train)") == STEPS


@dataclass(frozen=True, slots=True)
class Killed:
    """A run on two ranks that was killed behind step `KILLED_AT`: what had been fetched, and seen."""

    fetched: list[str]
    logs: list[list[Step]]


@pytest.fixture(scope="module")
def killed(place: Place) -> Killed:
    """SIGKILL for all of it at once, as when a machine goes."""
    config = place.config("killed", hook={"halt_at": KILLED_AT})
    place.fetched()
    with torchrun(place, 2, config, "--work-dir", place.directory / "killed", stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        halted = (line.split()[1] for line in process.stdout if line.startswith("halted "))
        ranks = [int(next(halted)), int(next(halted))]
        for pid in (process.pid, *ranks):
            os.kill(pid, signal.SIGKILL)
        # The end of the pipe is the end of everyone who holds it.
        process.communicate(timeout=_END_S)
    assert process.returncode == -signal.SIGKILL
    # The same checkpoint for a run of its own, as if on another machine.
    source = {"Bucket": BUCKET, "Key": f"ckpt/killed/iter_{SAVED_AT}.pth"}
    place.s3.copy_object(Bucket=BUCKET, Key=f"ckpt/elsewhere/iter_{SAVED_AT}.pth", CopySource=source)
    return Killed(place.fetched(), place.steps("killed", 2))


def check_resumed(place: Place, whole: Whole, killed: Killed, logs: list[list[Step]]) -> None:
    """Cut at the checkpoint, both runs together are the whole one; and nothing else was fetched than what was left."""
    before = [[step for step in steps if step.number <= SAVED_AT] for steps in killed.logs]
    first = [*sequence(before, 0), *sequence(logs, 0)]
    fetched = place.fetched()

    assert len(sequence(before, 0)) == CONSUMED
    assert first == sequence(whole.logs, 0)[:IMAGES]
    assert sequence(logs, 1) == sequence(whole.logs, 1)[:IMAGES]
    # Not one object of a consumed position: each epoch's remaining images, once.
    assert sorted(fetched) == sorted([*first[CONSUMED:], *sequence(logs, 1)])
    assert len(fetched) == IMAGES * EPOCHS - CONSUMED


def test_the_killed_run_was_in_the_middle_of_an_epoch(killed: Killed) -> None:
    assert [step.number for step in killed.logs[0]] == list(range(1, KILLED_AT + 1))
    assert {step.epoch for step in killed.logs[0]} == {0}
    # What it had fetched ahead was lost with it.
    assert len(killed.fetched) > KILLED_AT * 4


def test_a_killed_run_goes_on_with_three_ranks(place: Place, whole: Whole, killed: Killed) -> None:
    config = place.config("killed-3", **{"checkpoint_config.interval": STEPS})
    place.fetched()

    code, output, errors = run(place, 3, config, "--work-dir", place.directory / "killed", "--resume")

    assert (code, errors) == (0, "")
    assert output.count(f"resumed from s3://{BUCKET}/ckpt/killed/iter_{SAVED_AT}.pth") == 1
    logs = place.steps("killed-3", 3)
    # Two steps of six images are left of the first epoch, the second of three, and four are the next one.
    assert [(s.number, s.epoch, s.place) for s in logs[0]] == [
        (4, 0, 2), (5, 0, 3), (6, 1, 0), (7, 1, 1), (8, 1, 2), (9, 1, 3)
    ]  # fmt: skip
    check_resumed(place, whole, killed, logs)


def test_a_killed_run_goes_on_in_one_process(
    place: Place, moto_environ: MotoServer, whole: Whole, killed: Killed, capsys: pytest.CaptureFixture[str]
) -> None:
    config = place.config("killed-1", **{"checkpoint_config.interval": 100})
    place.fetched()

    code = main(["train", str(config), "--work-dir", str(place.directory / "elsewhere"), "--resume"])

    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert f"resumed from s3://{BUCKET}/ckpt/elsewhere/iter_{SAVED_AT}.pth" in captured.out
    logs = place.steps("killed-1", 1)
    assert [s.number for s in logs[0]] == list(range(SAVED_AT + 1, SAVED_AT + 1 + 5 + 11))
    check_resumed(place, whole, killed, logs)


def test_where_one_rank_dies_the_other_says_so_in_one_line_and_all_ends(place: Place) -> None:
    log_config = {"interval": 1, "hooks": [{"type": "TextLoggerHook", "out_dir": f"s3://{BUCKET}/logs"}]}
    config = place.config("dying", hook={"kill_at": 1, "rank": 1}, log_config=log_config, checkpoint_config=None)

    code, _, errors = run(place, 2, config, "--work-dir", place.directory / "dying", "--resume")

    assert code == 1
    (line,) = said_by_us(errors)
    # Whichever comes first: the connection that broke, or torchrun's SIGTERM.
    assert re.match(r"asyncio-loader: (error: another rank has ended|terminated)", line)
    # And the log is where it was to go.
    (key,) = (
        o["Key"] for o in place.s3.list_objects_v2(Bucket=BUCKET, Prefix="logs/")["Contents"] if ".log" in o["Key"]
    )
    text = place.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert "nothing to resume in" in text
    assert "training ended: " in text


def test_what_is_wrong_before_the_first_step_is_one_line_of_one_rank(place: Place) -> None:
    config = place.config("refused", **{"checkpoint_config.out_dir": "s3://there-is-no-such-bucket"})

    code, output, errors = run(place, 2, config, "--work-dir", place.directory / "refused")

    assert code == 1
    assert output == ""
    assert said_by_us(errors) == [
        f"asyncio-loader: error: {config}: checkpoint_config.out_dir='s3://there-is-no-such-bucket': "
        "there is no bucket s3://there-is-no-such-bucket"
    ]
