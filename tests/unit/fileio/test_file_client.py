"""`FileClient` speaks mmcv's dialect."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.backends import DiskBackend, FilePath, StorageBackend


class EchoBackend(StorageBackend):
    """A user's backend."""

    def __init__(self, shout: bool = False) -> None:
        self._shout = shout

    def get(self, filepath: FilePath) -> bytes:
        text = str(filepath)
        return (text.upper() if self._shout else text).encode()


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for table in ("_backends", "_prefixes"):
        monkeypatch.setattr(FileClient, table, dict(getattr(FileClient, table)))
    yield
    FileClient._instances.clear()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, DiskBackend),
        ({"backend": "disk"}, DiskBackend),
        ({"backend": "aws"}, AwsBackend),
        ({"backend": "s3"}, AwsBackend),
        ({"prefix": "s3"}, AwsBackend),
        ({"prefix": "file"}, DiskBackend),
        ({"backend": "disk", "prefix": "s3"}, DiskBackend),
    ],
)
def test_backend_wins_over_prefix_and_disk_is_the_default(arguments: dict[str, str], kind: type) -> None:
    client = FileClient(**arguments)

    assert type(client.client) is kind
    assert client.name == kind.__name__
    assert client.allow_symlink is (kind is DiskBackend)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "awz"}, "there is no backend 'awz' (did you mean 'aws'?)"),
        ({"backend": "petrel"}, "there is no backend 'petrel' (known: aws, disk, s3)"),
        ({"prefix": "http"}, "there is no prefix 'http' (known: file, s3)"),
        ({"backend": "disk", "path_mapping": {}}, "backend 'disk' (DiskBackend): got an unexpected keyword argument"),
        ({"backend": "aws", "profile": "x"}, "did you mean 'profile_name'?"),
    ],
)
def test_what_nobody_knows_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FileClient(**arguments)

    assert words in str(caught.value)


def test_the_same_arguments_give_the_same_client() -> None:
    mapping = {"data": "s3://bucket"}

    assert FileClient("aws", path_mapping=mapping) is FileClient("aws", path_mapping=dict(mapping))
    assert FileClient("aws") is not FileClient("aws", path_mapping=mapping)
    assert FileClient("aws") is FileClient(prefix="s3")


def test_copies_and_pickles_are_the_client_itself() -> None:
    client = FileClient("aws", path_mapping={"data": "s3://bucket"})

    assert pickle.loads(pickle.dumps(client)) is client
    assert copy.deepcopy({"client": client})["client"] is client
    assert copy.copy(client) is client


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("s3://bucket/a", "s3"),
        ("cluster1:s3://bucket/a", "s3"),
        ("https://host/a", "https"),
        ("/data/a", None),
        ("data/a:b", None),
        (Path("data/a"), None),
        ("http://host/a?b=s3://c", "http"),
    ],
)
def test_the_prefix_is_read_off_the_uri(uri: FilePath, prefix: str | None) -> None:
    assert FileClient.parse_uri_prefix(uri) == prefix


@pytest.mark.parametrize("uri", [None, []])
def test_what_is_no_uri_is_refused(uri: object) -> None:
    with pytest.raises(ConfigError, match="a URI is a string or a Path"):
        FileClient.parse_uri_prefix(uri)  # type: ignore[arg-type]


def test_arguments_win_over_the_uri() -> None:
    assert FileClient.infer_client({"backend": "disk"}, "s3://bucket/a") is FileClient("disk")
    assert FileClient.infer_client(uri="s3://bucket/a") is FileClient(prefix="s3")
    assert FileClient.infer_client(uri="data/a") is FileClient("disk")
    with pytest.raises(ConfigError, match="needs file_client_args or uri"):
        FileClient.infer_client()


@pytest.mark.usefixtures("_registry")
def test_a_backend_is_registered_by_call_or_decorator() -> None:
    FileClient.register_backend("echo", EchoBackend, prefixes=["echo", "e"])

    @FileClient.register_backend("loud")
    class LoudBackend(EchoBackend):
        pass

    assert FileClient("echo", shout=True).get("a") == b"A"
    assert FileClient.infer_client(uri="e://x").get("e://x") == b"e://x"
    assert type(FileClient("loud").client) is LoudBackend


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("names", [{"name": "aws"}, {"name": "own", "prefixes": "s3"}])
def test_what_is_taken_stays_without_force(names: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is registered already; force=True"):
        FileClient.register_backend(backend=EchoBackend, **names)


@pytest.mark.usefixtures("_registry")
def test_force_replaces_names_prefixes_and_clients() -> None:
    before = FileClient("aws")

    FileClient.register_backend("aws", EchoBackend, force=True, prefixes="s3")

    assert FileClient("aws") is not before
    assert type(FileClient("aws").client) is EchoBackend
    assert type(FileClient(prefix="s3").client) is EchoBackend


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("backend", [5, dict, EchoBackend()])
def test_what_is_no_backend_is_refused(backend: object) -> None:
    with pytest.raises(ConfigError, match="must be a subclass of StorageBackend"):
        FileClient.register_backend("own", backend)  # type: ignore[call-overload]


def test_every_call_reaches_the_backend(disk_tree: str) -> None:
    client = FileClient("disk")
    new = f"{disk_tree}/new"
    client.put(b"1", new)
    client.put_text("2", f"{new}.txt")

    assert client.get(new) == b"1"
    assert client.get_text(f"{new}.txt") == "2"
    assert client.exists(new)
    assert client.isfile(new)
    assert client.isdir(disk_tree)
    assert client.join_path("a", "b") == "a/b"
    assert list(client.list_dir_or_file(disk_tree, list_file=False)) == ["dir1", "dir2"]
    with client.get_local_path(new) as path:
        assert path == new

    client.remove(new)

    assert not client.exists(new)


def test_the_config_of_the_tutorial_reads(s3_tree: str) -> None:
    client = FileClient(backend="aws", path_mapping={"data/coco/": f"{s3_tree}/"})

    assert client.get_text("data/coco/text1.txt") == "text1"
