from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.training.destinations import Destination, check_destinations
from asyncio_loader.training.out_dirs import OutDir


def out_dir(directory: str) -> OutDir:
    return OutDir("checkpoint_config.out_dir", directory, FileClient.infer_client(uri=directory))


def destination(directory: str | None, work_dir: Path) -> Destination:
    journal = UploadJournal(work_dir / "uploads.jsonl")
    return Destination.under(None if directory is None else out_dir(directory), work_dir, journal)


def test_without_out_dir_it_is_the_work_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    place = destination(None, Path("runs/a"))

    assert (place.directory, place.is_local) == (str(tmp_path / "runs" / "a"), True)


def test_the_name_of_the_work_directory_comes_behind_the_out_dir(tmp_path: Path) -> None:
    assert destination("s3://bucket/ckpt", tmp_path / "run").directory == "s3://bucket/ckpt/run"
    assert destination(str(tmp_path / "ckpt"), tmp_path / "run").directory == str(tmp_path / "ckpt" / "run")


def test_an_out_dir_that_is_the_work_directory_stays_it(tmp_path: Path) -> None:
    assert destination(str(tmp_path), tmp_path).directory == str(tmp_path)


@pytest.mark.parametrize("kind", ["memory://destinations", "disk"])
def test_a_file_is_there_when_its_block_ends(tmp_path: Path, kind: str) -> None:
    place = destination(None if kind == "disk" else kind, tmp_path / "run")

    assert place.names() == []
    with place.open("a.pth") as file:
        file.write(b"content")
    assert place.names() == ["a.pth"]
    assert place.client.get(place.at("a.pth")) == b"content"


def test_it_holds_what_lies_right_in_it(tmp_path: Path) -> None:
    place = destination("s3://bucket/ckpt", tmp_path / "run")

    assert place.holds("s3://bucket/ckpt/run/epoch_1.pth")
    assert not place.holds("s3://bucket/ckpt/other/epoch_1.pth")
    assert not place.holds(None)


class FakeClient:
    """Answers whether a bucket is there, or raises."""

    def __init__(self, answer: bool | Exception) -> None:
        self.asked: list[str] = []
        self.client = self
        self._answer = answer

    def isdir(self, uri: str) -> bool:
        self.asked.append(uri)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def join_path(self, *parts: str) -> str:
        return "/".join(parts)


def remote(answer: bool | Exception, key: str, tmp_path: Path) -> tuple[Destination, FakeClient]:
    client: Any = FakeClient(answer)
    place = OutDir(key, "s3://bucket/deep/ckpt", client)
    return Destination.under(place, tmp_path / "run", UploadJournal(tmp_path / "j")), client


def test_it_is_the_bucket_that_is_asked_for(tmp_path: Path) -> None:
    place, client = remote(True, "a.out_dir", tmp_path)

    check_destinations([(place, None)])

    assert client.asked == ["s3://bucket"]


def test_who_may_not_look_may_still_write(tmp_path: Path) -> None:
    place, _ = remote(AccessDenied("no"), "a.out_dir", tmp_path)

    check_destinations([(place, None)])


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    local = destination(str(tmp_path / "file"), tmp_path / "run")
    places = [remote(False, key, tmp_path)[0] for key in ("a.out_dir", "b.out_dir")]

    with pytest.raises(ConfigError) as caught:
        check_destinations([(place, None) for place in (*places, local)])

    said = str(caught.value)
    assert "a.out_dir='s3://bucket/deep/ckpt': there is no bucket s3://bucket; b.out_dir=" in said
    assert "file is not a directory" in said


def test_a_key_that_would_be_too_long_for_s3_is_found_before_anything_is_asked(tmp_path: Path) -> None:
    place = destination(f"s3://bucket/{'k' * 1000}", tmp_path / "run")

    with pytest.raises(
        ConfigError, match=r"^checkpoint_config\.out_dir: s3://.*/run/best_bbox_mAP_epoch_12\.pth: .* 102"
    ):
        check_destinations([(place, "best_bbox_mAP_epoch_12.pth")])
