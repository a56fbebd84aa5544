from __future__ import annotations

import filecmp
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import AccessDenied, LoaderError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.training.destinations import Destination
from asyncio_loader.training.log_files import LogOutput, LogShipment, shipped
from asyncio_loader.training.out_dirs import OutDir


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """What mmengine leaves there."""
    directory = tmp_path / "run"
    for name in ("20260101_000000/a.log", "20260101_000000/vis_data/scalars.json", "config.py", "epoch_1.pth"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return directory


def shipment(work_dir: Path, *outputs: tuple[str, bool], suffixes: tuple[str, ...] = (".log", ".json", ".py")) -> Any:
    journal = UploadJournal(work_dir / "uploads.jsonl")
    wanted = []
    for directory, keep_local in outputs:
        place = OutDir("log_config.hooks[0].out_dir", directory, FileClient.infer_client(uri=directory))
        output = LogOutput(out_dir=place, keep_local=keep_local, suffixes=suffixes)
        wanted.append((output, Destination.under(place, work_dir, journal)))
    return LogShipment(wanted, work_dir, work_dir / "20260101_000000", work_dir / "config.py")


def files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


LOGS = {"20260101_000000/a.log", "20260101_000000/vis_data/scalars.json", "config.py"}


def test_files_keep_their_names(work_dir: Path, tmp_path: Path) -> None:
    shipment(work_dir, (str(tmp_path / "logs"), True)).send()

    assert files(tmp_path / "logs" / "run") == LOGS
    assert files(work_dir) == {*LOGS, "epoch_1.pth"}


def test_only_the_ends_of_names_that_were_asked_for(work_dir: Path, tmp_path: Path) -> None:
    shipment(work_dir, (str(tmp_path / "logs"), True), suffixes=(".log",)).send()

    assert files(tmp_path / "logs" / "run") == {"20260101_000000/a.log"}


def test_what_need_not_stay_is_removed_with_its_directories(work_dir: Path, tmp_path: Path) -> None:
    shipment(work_dir, (str(tmp_path / "logs"), False)).send()

    assert files(tmp_path / "logs" / "run") == LOGS
    assert [path.name for path in work_dir.iterdir()] == ["epoch_1.pth"]


def test_two_hooks_get_a_copy_each(work_dir: Path, tmp_path: Path) -> None:
    shipment(work_dir, (str(tmp_path / "a"), False), (str(tmp_path / "b"), True)).send()

    assert files(tmp_path / "a" / "run") == files(tmp_path / "b" / "run") == LOGS


def test_an_out_dir_where_the_logs_are_anyway_copies_and_removes_nothing(work_dir: Path) -> None:
    here = shipment(work_dir, (str(work_dir.parent), False))

    here.send()

    assert not here
    assert files(work_dir) == {*LOGS, "epoch_1.pth"}


def test_only_the_first_call_sends(work_dir: Path, tmp_path: Path) -> None:
    twice = shipment(work_dir, (str(tmp_path / "logs"), False))
    twice.send()
    (work_dir / "config.py").write_text("another")

    twice.send()

    assert (tmp_path / "logs" / "run" / "config.py").read_text() == "config.py"


class Refusing:
    """A client that may write everything but one kind of file."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.client = self
        self.written: list[str] = []

    def join_path(self, *parts: str) -> str:
        return "/".join(parts)

    def open(self, uri: str, mode: str, **_: object) -> Any:
        if uri.endswith(self.suffix):
            raise AccessDenied(f"{uri}: not allowed to put")
        self.written.append(uri)
        return FileClient("memory").open(uri, "wb")


def test_if_one_cannot_be_copied_all_stay_and_the_error_names_it(work_dir: Path) -> None:
    client: Any = Refusing(".json")
    place = OutDir("log_config.hooks[0].out_dir", "memory://bucket", client)
    output = LogOutput(out_dir=place, keep_local=False, suffixes=(".log", ".json"))
    destination = Destination.under(place, work_dir, UploadJournal(work_dir / "j"))
    refused = LogShipment([(output, destination)], work_dir, work_dir / "20260101_000000", work_dir / "config.py")

    with pytest.raises(LoaderError) as caught:
        refused.send()

    kept = work_dir / "20260101_000000" / "vis_data" / "scalars.json"
    assert f"the upload failed; the log stays as {kept}: memory://bucket/run/" in str(caught.value)
    assert files(work_dir) == {*LOGS, "epoch_1.pth"}


def test_a_second_thread_waits_for_the_first(work_dir: Path, tmp_path: Path) -> None:
    both = shipment(work_dir, (str(tmp_path / "logs"), True))
    threads = [threading.Thread(target=both.send) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert files(tmp_path / "logs" / "run") == LOGS


def test_what_mmengine_writes_twice_is_copied_once(work_dir: Path, tmp_path: Path) -> None:
    directory = work_dir / "20260101_000000" / "vis_data"
    (directory / "config.py").write_text("config.py")
    (directory / "20260101_000000.json").write_text((directory / "scalars.json").read_text())

    shipment(work_dir, (str(tmp_path / "logs"), False)).send()

    names = {"20260101_000000/a.log", "20260101_000000/vis_data/20260101_000000.json", "config.py"}
    assert files(tmp_path / "logs" / "run") == names
    assert files(work_dir) == {"epoch_1.pth"}


def test_what_cannot_be_removed_stays_and_is_said(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "config.py":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)

    shipment(work_dir, (str(tmp_path / "logs"), False)).send()

    assert files(work_dir) == {"config.py", "epoch_1.pth"}
    assert "config.py was copied, but could not be removed and stays" in caplog.text


@pytest.mark.parametrize("failure", [LoaderError("no bucket"), PermissionError(13, "no")])
def test_a_log_that_cannot_be_copied_does_not_hide_why_the_run_ended(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work_dir: Path
) -> None:
    def refuse(self: LogShipment) -> None:
        raise failure

    monkeypatch.setattr(LogShipment, "send", refuse)

    with pytest.raises(ZeroDivisionError), shipped(shipment(work_dir), logging.getLogger("run"), None):
        raise ZeroDivisionError

    assert str(failure) in caplog.text


def end(wanted: LogShipment, error: LoaderError | None) -> None:
    """A run that ends well, or with an error."""
    with shipped(wanted, logging.getLogger("run"), None):
        if error:
            raise error


@pytest.mark.parametrize("error", [None, LoaderError("another rank has ended")])
def test_an_interrupt_while_the_log_is_copied_does_not_keep_it_from_its_place(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: LoaderError | None
) -> None:
    interrupts = [KeyboardInterrupt()]
    copy = shutil.copyfileobj

    def interrupted(source: Any, target: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", interrupted)

    with pytest.raises(KeyboardInterrupt):
        end(shipment(work_dir, (str(tmp_path / "logs"), True)), error)

    assert files(tmp_path / "logs" / "run") == LOGS


def test_a_log_that_cannot_be_read_is_said_as_one_that_stays(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filecmp, "cmp", refuse)
    (work_dir / "20260101_000000" / "b.log").write_text("b")

    with pytest.raises(LoaderError, match=r"b\.log: the upload failed; the log stays as "):
        shipment(work_dir, (str(tmp_path / "logs"), True)).send()
