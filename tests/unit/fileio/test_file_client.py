"""`FileClient` speaks mmcv's dialect."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.backends import DiskBackend, FilePath, StorageBackend
from asyncio_loader.fileio.http import HttpBackend
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.fileio.memory import MemoryBackend


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
        ({"backend": "http"}, HttpBackend),
        ({"prefix": "http"}, HttpBackend),
        ({"prefix": "https"}, HttpBackend),
        ({"backend": "memory"}, MemoryBackend),
        ({"prefix": "memory"}, MemoryBackend),
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
        ({"backend": "petrel"}, "there is no backend 'petrel' (known: aws, disk, http, memory, s3)"),
        ({"prefix": "gs"}, "there is no prefix 'gs' (known: file, http, https, memory, s3)"),
        (
            {"backend": "http", "timeout": 5},
            "backend 'http' (HttpBackend): got an unexpected keyword argument 'timeout'",
        ),
        ({"backend": "memory", "endpoint_url": "x"}, "backend 'memory' (MemoryBackend): got an unexpected keyword"),
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
def test_a_registration_leaves_other_clients_as_they_are() -> None:
    before = FileClient("disk"), FileClient("memory")

    FileClient.register_backend("echo", EchoBackend)
    FileClient.register_backend("memory", EchoBackend, force=True)

    assert FileClient("disk") is before[0]
    assert FileClient(prefix="memory") is before[1]
    assert FileClient("memory") is not before[1]


@pytest.mark.usefixtures("_registry")
def test_a_class_of_the_same_name_is_another_backend() -> None:
    def define() -> type[EchoBackend]:
        class Same(EchoBackend):
            pass

        return Same

    old, new = define(), define()
    FileClient.register_backend("same", old)
    before = FileClient("same")
    FileClient.register_backend("same", new, force=True)

    assert type(before.client) is old
    assert type(FileClient("same").client) is new


@pytest.mark.usefixtures("_registry")
def test_what_is_half_taken_leaves_nothing_behind() -> None:
    with pytest.raises(ConfigError, match="s3:// is registered already"):
        FileClient.register_backend("own", EchoBackend, prefixes=["own", "s3"])

    with pytest.raises(ConfigError, match="there is no backend 'own'"):
        FileClient("own")


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("names", [{"name": 5}, {"name": "own", "prefixes": [5]}])
def test_names_and_prefixes_are_strings(names: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be strings"):
        FileClient.register_backend(backend=EchoBackend, **names)


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


def test_threads_that_ask_at_once_get_one_client() -> None:
    begin, clients = threading.Barrier(8), []

    def ask() -> None:
        begin.wait()
        clients.append(FileClient("aws", path_mapping={"data": "s3://bucket/at-once"}))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(clients) == 8
    assert len(set(map(id, clients))) == 1


def test_a_file_of_ones_own_backend_opens() -> None:
    kept: dict[str, bytes] = {}

    class DictBackend(StorageBackend):
        def get(self, filepath: FilePath) -> bytes:
            return kept[str(filepath)]

        def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
            kept[str(filepath)] = bytes(obj)

    backend = DictBackend()
    with backend.open("a", "wb") as file:
        file.write(b"12")
        file.close()
        assert kept == {}
    with backend.open("a") as file:
        assert file.read() == b"12"
    with pytest.raises(KeyError), backend.open("b", "wb"):
        raise KeyError

    assert kept == {"a": b"12"}


def test_put_with_a_journal_writes_the_same(disk_tree: str, tmp_path: Path) -> None:
    FileClient("disk").put(b"1", f"{disk_tree}/new", journal=UploadJournal(tmp_path / "journal"))

    assert Path(disk_tree, "new").read_bytes() == b"1"


def test_the_config_of_the_tutorial_reads(s3_tree: str) -> None:
    client = FileClient(backend="aws", path_mapping={"data/coco/": f"{s3_tree}/"})

    assert client.get_text("data/coco/text1.txt") == "text1"
