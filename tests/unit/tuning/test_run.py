from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncio_loader import cli
from asyncio_loader.errors import Throttled
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.tuning import run
from asyncio_loader.tuning.measurement import Measurement, Task
from asyncio_loader.tuning.process import Told
from asyncio_loader.tuning.screen import LiveLine
from tests.unit.tuning.conftest import Measured

Measure = Callable[[Task, Callable[[Told | None], object]], Measurement]


@pytest.fixture
def photos(tmp_path: Path) -> str:
    directory = tmp_path / "photos"
    directory.mkdir()
    for name in ("1.jpg", "2.jpg", "instances.json"):
        (directory / name).write_bytes(b"x" * 1000)
    return f"{directory}/"


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Path]]:
    """Run the command with another way to measure; its exit code, and where it writes."""

    def call(measure: Measure, *arguments: str) -> tuple[int, Path]:
        monkeypatch.setattr(run, "measure_in_process", measure)
        return cli.main(["tune", *arguments, "--out", str(tmp_path / "out")]), tmp_path / "out"

    return call


def test_every_setting_is_measured_and_told(
    tune: Callable[..., tuple[int, Path]], photos: str, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks: list[Task] = []

    def measure(task: Task, tell: Callable[[Told | None], object]) -> Measurement:
        tasks.append(task)
        tell(None)
        tell({"is_warm": False, "elapsed_s": 0.5, "samples": 10})
        return measured(task.options.max_in_flight, 10 * task.options.max_in_flight)

    code, out = tune(measure, photos, "--concurrency", "64,16", "--decode", "--threads", "3", "--seconds", "2")

    said = capsys.readouterr()
    assert code == 0
    assert [task.options.max_in_flight for task in tasks] == [16, 64]
    assert [name for name, _ in tasks[0].objects] == [f"{photos}1.jpg", f"{photos}2.jpg"]
    assert (tasks[0].threads, tasks[0].workers, tasks[0].seconds) == (3, 0, 2.0)
    assert "left out, because not called like an image: 1" in said.out
    assert "<- knee" in said.out
    assert "FetchOptions(max_in_flight=64)" in said.out
    assert "[2/2] 64 in flight: 640 img/s" in said.err
    (document,) = out.glob("tune-*.json")
    assert [each["concurrency"] for each in json.loads(document.read_text())["measurements"]] == [16, 64]
    assert document.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"written to {document} and {document.with_suffix('.png')}" in said.out


@pytest.mark.usefixtures("ctrl_c_raises")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_tells_what_was_measured(
    tune: Callable[..., tuple[int, Path]],
    photos: str,
    measured: Measured,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    def measure(task: Task, _: Callable[[Told | None], object]) -> Measurement:
        if task.options.max_in_flight > 16:
            os.kill(os.getpid(), number)
        return measured(task.options.max_in_flight, 400)

    ended, out = tune(measure, photos, "--concurrency", "16,64,256")

    said = capsys.readouterr().out
    assert ended == code
    assert "       16    400" in said
    assert "not complete: 1 of 3 settings were measured" in said
    assert len(list(out.iterdir())) == 2


def test_a_setting_that_fails_ends_it_with_what_was_measured(
    tune: Callable[..., tuple[int, Path]], photos: str, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(task: Task, _: Callable[[Told | None], object]) -> Measurement:
        if task.options.max_in_flight > 16:
            raise Throttled("s3://b/1.jpg: the server asks for fewer requests")
        return measured(task.options.max_in_flight, 400)

    code, _ = tune(measure, photos, "--concurrency", "16,64")

    said = capsys.readouterr()
    assert code == 1
    assert "       16    400" in said.out
    assert said.err.splitlines()[-2:] == [
        "[2/2] 64 in flight: failed",
        "asyncio-loader: error: s3://b/1.jpg: the server asks for fewer requests",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none/"], 1, "no object's URI starts with that"),
        (["s3://x"], 2, "'x' is no bucket name"),
        (["s3:/bucket/x"], 1, "no object's URI starts with that"),
        (["s3://bucket/", "--endpoint-url", "minio:9000"], 2, "S3Options.endpoint_url must be a URL"),
        (["s3://bucket/", "--threads", "2"], 2, "--threads are decoding threads"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    tune: Callable[..., tuple[int, Path]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    def measure(task: Task, _: Callable[[Told | None], object]) -> Measurement:
        raise AssertionError

    assert tune(measure, *arguments)[0] == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("asyncio-loader: error: ")
    assert said in error


def test_without_a_uri_there_is_a_simulator(
    tune: Callable[..., tuple[int, Path]], measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks: list[Task] = []

    def measure(task: Task, _: Callable[[Told | None], object]) -> Measurement:
        assert os.environ["AWS_ENDPOINT_URL_S3"] == task.storage.endpoint_url
        tasks.append(task)
        return measured(task.options.max_in_flight, 400)

    code, _ = tune(measure, "--concurrency", "4", "--latency-median", "2")

    assert code == 0
    assert "first byte after 2 ms (median), 10 ms (p99): 1,000 objects, 115 KB" in capsys.readouterr().out
    assert tasks[0].objects[0][0] == "s3://bucket/train2017/000000000000.jpg"
    assert "AWS_ENDPOINT_URL_S3" not in os.environ


class Shown(LiveLine):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def show(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(("sizes", "rate"), [((80_000, 120_000), "300 img/s, 30.0 MB/s"), ((None,), "300 img/s")])
def test_the_line_has_rate_bytes_where_they_are_known_and_the_time_left(
    sizes: tuple[int | None, ...], rate: str
) -> None:
    line = Shown()
    objects = [(f"s3://bucket/{number}.jpg", size) for number, size in enumerate(sizes)]
    task = Task(objects=objects, storage=S3Options(), options=FetchOptions(), seconds=20.0)
    teller = run._Teller(line, "[1/3] 8 in flight: ", task, 2)
    teller.tell({"elapsed_s": 3.0, "samples": 900, "is_warm": False})
    teller.tell({"elapsed_s": 5.0, "samples": 1500, "is_warm": True})
    teller.tell(None)

    assert line.texts == [
        f"[1/3] 8 in flight: warm-up 3.0 s, {rate}, ETA 1:00",
        f"[1/3] 8 in flight: 5.0 of 20 s, {rate}, ETA 0:55",
        f"[1/3] 8 in flight: 5.0 of 20 s, {rate}, ETA 0:55",
    ]
