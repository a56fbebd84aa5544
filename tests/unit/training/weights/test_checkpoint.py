from __future__ import annotations

import errno
import io
import os
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from asyncio_loader.errors import ConfigError, ConnectionLost, ObjectNotFound
from asyncio_loader.fileio.backends import FilePath, StorageBackend
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.progress import showing_transfers
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.training.weights import client_of, is_trusted, read_checkpoint, read_state_dict
from tests.unit.training.weights.conftest import create_bucket


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


def save(directory: Path, values: object, *, is_zip: bool = True) -> str:
    path = directory / "file.pth"
    torch.save(values, path, _use_new_zipfile_serialization=is_zip)
    return str(path)


def write(directory: Path, data: bytes) -> str:
    path = directory / "file.pth"
    path.write_bytes(data)
    return str(path)


def refusal(uri: str, **options: Any) -> str:
    """What stands behind the name of the file."""
    with pytest.raises(ConfigError) as caught:
        read_checkpoint(uri, path="load_from", **options)
    start = f"load_from={uri!r}"
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(start)


def test_the_whole_checkpoint_comes_back(tmp_path: Path) -> None:
    values = {"meta": {"epoch": 3, "CLASSES": ("a", "b")}, "state_dict": OrderedDict(a=torch.ones(2)), "optimizer": {}}

    read = read_checkpoint(save(tmp_path, values))

    assert read["meta"] == values["meta"]
    assert read["state_dict"]["a"].equal(torch.ones(2))
    assert list(read) == list(values)


@pytest.mark.parametrize("is_zip", [True, False])
def test_mmengines_history_and_numpys_numbers_are_read(is_zip: bool, tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    values = {"log": history, "score": np.float64(0.5), "ids": np.arange(3), "names": np.array(["a"])}

    read = read_checkpoint(save(tmp_path, values, is_zip=is_zip))

    assert read["log"].mean() == 1.5
    assert read["score"] == 0.5
    assert read["ids"].tolist() == [0, 1, 2]
    assert read["names"].tolist() == ["a"]


def test_files_of_numpy_1_are_read(tmp_path: Path) -> None:
    path = save(tmp_path, {"log": HistoryBuffer([4.0], [1]), "score": np.float32(0.5)}, is_zip=False)
    old = Path(path).read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")

    read = read_checkpoint(write(tmp_path, old))

    assert b"numpy.core.multiarray" in old
    assert (read["log"].current(), read["score"]) == (4.0, 0.5)


def test_a_checkpoint_on_s3_is_read(tmp_path: Path, moto_environ: MotoServer) -> None:
    uri = "s3://whole-checkpoints/a/epoch_1.pth"
    create_bucket(uri)
    content = Path(save(tmp_path, {"state_dict": {"a": torch.arange(1000)}})).read_bytes()
    FileClient.infer_client(uri=uri).put(content, uri)

    assert read_checkpoint(uri)["state_dict"]["a"].equal(torch.arange(1000))


def test_a_client_of_ones_own_may_know_another_endpoint(
    moto_environ: MotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "s3://checkpoints-elsewhere/a.pth"
    create_bucket(uri)
    client = FileClient("aws", endpoint_url=moto_environ.endpoint_url)
    with client.open(uri, "wb") as file:
        torch.save({"a": torch.ones(1)}, file)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")

    assert read_checkpoint(uri, client=client)["a"].equal(torch.ones(1))


def test_a_download_is_shown_where_somebody_looks_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "plain")
    file, uri = io.BytesIO(), "memory://weights/shown.pth"
    torch.save({"weight": torch.ones(1_000_000)}, file)
    FileClient("memory").put(file.getvalue(), uri)
    with showing_transfers():
        read = read_checkpoint(uri)

    assert read["weight"].sum() == 1_000_000
    assert capsys.readouterr().err.startswith("download shown.pth: 4.0 MB in 0:0")


def test_a_missing_object_is_a_fetch_error(moto_environ: MotoServer) -> None:
    with pytest.raises(ObjectNotFound, match=r"s3://no-such-bucket/a\.pth"):
        read_checkpoint("s3://no-such-bucket/a.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none.pth")) == ": no such file"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == ": no such file"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", " is not a checkpoint: it is empty"),
        (b"not weights", " is not a checkpoint"),
        (b"\n<!DOCTYPE html>", " is not a checkpoint: it is a page of HTML or XML: a download that failed?"),
        (b'<?xml version="1.0"?><Error>', " is not a checkpoint: it is a page of HTML or XML: a download that failed?"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            " is not a checkpoint: it is a pointer of git-lfs, not the file itself: run `git lfs pull`",
        ),
        (
            b"\x1f\x8b\x08",
            " is not a checkpoint: it is a gzip archive: unpack it, and name the checkpoint that is in it",
        ),
        (b'\x10\0\0\0\0\0\0\0{"a":{}', " is a file of safetensors: save its tensors with torch.save"),
        (b"\x80\x02}q\x00.", " is not a checkpoint, or a damaged one (RuntimeError)"),
        (b"PK\x03\x04" + bytes(100), " is a checkpoint that ends too early: a copy that was interrupted?"),
    ],
)
def test_what_is_not_a_checkpoint_is_called_what_it_is(data: bytes, expected: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path, data)) == expected


def test_a_tar_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pth"))

    assert refusal(write(tmp_path, data.getvalue())).startswith(" is a tar archive: unpack it")


def test_a_zip_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.txt", "text")

    assert refusal(write(tmp_path, data.getvalue())) == " is not a checkpoint, or a damaged one (RuntimeError)"


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_truncated_checkpoint_is_refused(share: float, is_zip: bool, tmp_path: Path) -> None:
    data = Path(save(tmp_path, {"a": torch.ones(999), "b": torch.ones(99)}, is_zip=is_zip)).read_bytes()

    message = refusal(write(tmp_path, data[: int(len(data) * share)]))

    assert "ends too early" in message or "damaged" in message


def test_an_object_that_fails_while_it_is_read_is_a_fetch_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Path(save(tmp_path, {"a": torch.ones(9999)})).read_bytes()
    monkeypatch.setattr(FileClient, "_backends", dict(FileClient._backends))
    monkeypatch.setattr(FileClient, "_prefixes", dict(FileClient._prefixes))
    FileClient.register_backend("torn", torn_backend(content, ConnectionLost("reset")), prefixes="torn")

    with pytest.raises(ConnectionLost, match=r"^checkpoint='torn://a.pth': reset$"):
        read_checkpoint("torn://a.pth")


def test_a_disk_that_fails_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Path(save(tmp_path, {"a": torch.ones(9999)})).read_bytes()
    monkeypatch.setattr(FileClient, "_backends", dict(FileClient._backends))
    monkeypatch.setattr(FileClient, "_prefixes", dict(FileClient._prefixes))
    FileClient.register_backend("torn", torn_backend(content, OSError(errno.EIO, "I/O error")), prefixes="torn")

    assert refusal("torn://a.pth") == " cannot be read: I/O error"


def torn_backend(content: bytes, error: Exception) -> type[StorageBackend]:
    """A backend that fails within the tensors of a checkpoint, after its directory has been read."""

    class TornFile(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            if len(buffer) > 9000:
                raise error
            return super().readinto(buffer)

    class TornBackend(StorageBackend):
        def get(self, filepath: FilePath) -> bytes:
            return content

        def open(self, filepath: FilePath, mode: Any = "rb", **options: Any) -> Any:
            return TornFile(content)

    return TornBackend


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_could_run_code_is_refused_with_the_decision_to_take(is_zip: bool, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    message = refusal(save(tmp_path, {"a": Call(os.mkdir, str(marker))}, is_zip=is_zip))

    assert message == (
        " holds 'posix.mkdir', and reading it could run code: if you trust everybody who can write there, say so with "
        "--trust <its directory>, or with the config key trusted_checkpoints=[…]"
    )
    assert not marker.exists()


@pytest.mark.parametrize("call", [Call(getattr, HistoryBuffer, "__init__"), Call(getattr, OrderedDict, "fromkeys")])
def test_a_pickle_cannot_ask_for_any_attribute(call: Call, tmp_path: Path) -> None:
    assert refusal(save(tmp_path, {"a": call})).startswith(" holds 'getattr', and reading it could run code")


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_trusted_checkpoint_may_hold_anything(is_zip: bool, tmp_path: Path) -> None:
    uri = save(tmp_path, {"where": Path("/a")}, is_zip=is_zip)

    assert read_checkpoint(uri, trusted=[str(tmp_path)]) == {"where": Path("/a")}


def test_trust_makes_no_checkpoint_of_a_broken_file(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, b"\x80\x02}q\x00."), trusted=[str(tmp_path)]).endswith("(RuntimeError)")


def test_a_trusted_checkpoint_that_cannot_be_rebuilt_says_why(tmp_path: Path) -> None:
    uri = save(tmp_path, {"a": Call(int, "seven")})

    assert refusal(uri, trusted=[uri]).startswith(" cannot be read: ValueError: invalid literal for int()")


@pytest.mark.parametrize(
    ("uri", "place", "expected"),
    [
        ("s3://bucket/ours/a.pth", "s3://bucket/ours/", True),
        ("s3://bucket/ours/a.pth", "s3://bucket/ours", True),
        ("s3://bucket/ours/a.pth", "s3://bucket/ours/a.pth", True),
        ("s3://bucket/ours/a.pth", "s3://bucket", True),
        ("s3://bucket/ours-too/a.pth", "s3://bucket/ours", False),
        ("s3://bucket-2/a.pth", "s3://bucket", False),
        ("s3://bucket/a.pth", "", False),
        ("s3://bucket/a.pth", "s3://", True),
        ("/data/a.pth", "s3://", False),
        ("/data/a.pth", "/", True),
        ("s3://bucket/a.pth", "/", False),
        ("/data/ours/a.pth", "/data/ours", True),
        ("file:///data/ours/a.pth", "/data/ours", True),
        ("/data/ours/../theirs/a.pth", "/data/ours", False),
    ],
)
def test_trust_reaches_from_a_place_downwards(uri: str, place: str, expected: bool) -> None:
    assert is_trusted(uri, [place]) is expected


def test_an_empty_place_is_not_where_the_process_is() -> None:
    assert not is_trusted("a.pth", [""])


def test_relative_paths_are_trusted_from_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert is_trusted("models/a.pth", [str(tmp_path / "models")])
    assert is_trusted(str(tmp_path / "models/a.pth"), ["models"])


@pytest.mark.parametrize("values", [[torch.ones(1)], torch.ones(1)])
def test_a_file_that_holds_no_dict_is_refused(values: object, tmp_path: Path) -> None:
    assert refusal(save(tmp_path, values)) == f" holds no dict but something of type {type(values).__name__}"


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_the_tensors_are_found_where_projects_put_them(key: str, tmp_path: Path) -> None:
    state = read_state_dict(save(tmp_path, {key: nn.Linear(1, 1).state_dict(), "epoch": 3}))

    assert list(state) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("values", "found"), [({"a": 1}, "; the type of 'a' is int"), ({}, ""), ({"state_dict": {}}, "")]
)
def test_a_dict_of_something_else_than_tensors_is_refused(values: object, found: str, tmp_path: Path) -> None:
    uri = save(tmp_path, values)

    with pytest.raises(ConfigError) as caught:
        read_state_dict(uri)

    assert str(caught.value) == f"checkpoint={uri!r} holds no dict of tensors{found}"


def test_a_uri_without_a_bucket_is_said_with_the_key() -> None:
    with pytest.raises(ConfigError, match=r"^load_from='s3://': 's3://' names no bucket"):
        read_checkpoint("s3://", path="load_from")


def test_the_client_of_s3_is_for_s3_alone() -> None:
    client = FileClient("aws", endpoint_url="http://127.0.0.1:9")

    assert client_of("s3://b/a.pth", client) is client
    assert client_of("/a.pth", client) is FileClient("disk")
    assert client_of("s3://b/a.pth", None) is FileClient(prefix="s3")
