"""S3 as a storage backend, on moto."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.testing import S3Simulator


@pytest.fixture
def aws(s3_tree: str) -> Iterator[AwsBackend]:
    backend = AwsBackend(path_mapping={"data/": s3_tree})
    yield backend
    backend.close()


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "asyncio-loader-files"]


def test_get_gives_a_memoryview(aws: AwsBackend, s3_tree: str) -> None:
    data = aws.get(f"{s3_tree}/dir2/img.jpg")

    assert isinstance(data, memoryview)
    assert data.tobytes() == b"\xff\xd8image"


@pytest.mark.parametrize("path", ["data/text1.txt", "./data/text1.txt", "data\\text1.txt", Path("data/text1.txt")])
def test_paths_are_mapped(aws: AwsBackend, path: str | Path) -> None:
    assert aws.get_text(path) == "text1"


def test_a_cluster_before_the_uri_is_left_out(aws: AwsBackend, s3_tree: str) -> None:
    assert aws.get_text(f"cluster1:{s3_tree}/text1.txt") == "text1"


def test_a_path_that_is_not_on_s3_is_refused(aws: AwsBackend) -> None:
    with pytest.raises(ConfigError, match=r"'/home/me/a\.jpg' is neither s3://bucket/key nor mapped"):
        aws.get("/home/me/a.jpg")


def test_a_missing_object_is_a_missing_file(aws: AwsBackend, s3_tree: str) -> None:
    with pytest.raises(ObjectNotFound, match=f"{s3_tree}/nothing"):
        aws.get("data/nothing")
    with pytest.raises(FileNotFoundError):
        aws.get("data/nothing")


def test_one_get_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Simulator({"a": b"1"}) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        backend = AwsBackend(endpoint_url=simulator.endpoint_url)
        backend.get(simulator.uri("a"))
        with backend.get_local_path(simulator.uri("a")), backend.open(simulator.uri("a")) as file:
            file.read()
        backend.close()

        assert [(request.method, request.status) for request in simulator.requests()] == [("GET", 206)] * 3


def test_what_is_put_is_there_until_it_is_removed(aws: AwsBackend) -> None:
    aws.put(b"1", "data/new/a")
    aws.put_text("é", "data/new/b", encoding="latin-1")

    assert (aws.get("data/new/a"), aws.get("data/new/b")) == (b"1", b"\xe9")

    aws.remove("data/new/a")
    aws.remove("data/new/a")

    assert not aws.exists("data/new/a")


@pytest.mark.parametrize(
    ("path", "exists", "isfile", "isdir"),
    [
        ("data/text1.txt", True, True, False),
        ("data/dir1", True, False, True),
        ("data/dir2/dir3/", True, False, True),
        ("data/di", False, False, False),
        ("data", True, False, True),
        ("data/dir1/", True, False, True),
        ("s3://files", True, False, True),
        ("s3://no-such-bucket", False, False, False),
        ("s3://no-such-bucket-either/a", False, False, False),
    ],
)
def test_files_and_directories_are_told_apart(
    aws: AwsBackend, path: str, exists: bool, isfile: bool, isdir: bool
) -> None:
    assert (aws.exists(path), aws.isfile(path), aws.isdir(path)) == (exists, isfile, isdir)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("s3://b/dir", "file"), "s3://b/dir/file"),
        (("s3://b/dir/", "file"), "s3://b/dir/file"),
        (("s3://b", "dir", "file"), "s3://b/dir/file"),
        (("s3://b/dir", "/file"), "s3://b/dir/file"),
        (("s3://b\\dir", "sub\\file"), "s3://b/dir/sub/file"),
        (("local/dir", "file"), "s3://bucket/x/dir/file"),
        (("local", "local", "file"), "s3://bucket/x/local/file"),
        (("s3://b/dir", "local/file"), "s3://b/dir/local/file"),
        (("s3://b/dir", "s3://c/file"), "s3://c/file"),
        (("local/dir/",), "s3://bucket/x/dir"),
        (("other", "file"), "other/file"),
    ],
)
def test_paths_are_joined_by_one_slash(parts: tuple[str, ...], joined: str) -> None:
    assert AwsBackend(path_mapping={"local": "s3://bucket/x"}).join_path(*parts) == joined


def test_a_local_path_has_content_and_extension_and_goes(aws: AwsBackend) -> None:
    with aws.get_local_path("data/dir2/img.jpg") as path:
        assert path.endswith(".jpg")
        assert Path(path).read_bytes() == b"\xff\xd8image"

    assert not os.path.exists(path)


ALL = [
    "dir1/",
    "dir1/text3.txt",
    "dir2/",
    "dir2/dir3/",
    "dir2/dir3/text4.txt",
    "dir2/img.jpg",
    "text1.txt",
    "text2.txt",
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["dir1/", "dir2/", "text1.txt", "text2.txt"]),
        ({"recursive": True}, ALL),
        ({"list_file": False}, ["dir1/", "dir2/"]),
        ({"list_file": False, "recursive": True}, ["dir1/", "dir2/", "dir2/dir3/"]),
        ({"list_dir": False}, ["text1.txt", "text2.txt"]),
        ({"list_dir": False, "recursive": True}, [name for name in ALL if "." in name]),
        ({"list_dir": False, "suffix": ".jpg", "recursive": True}, ["dir2/img.jpg"]),
        ({"list_dir": False, "suffix": (".txt", ".jpg")}, ["text1.txt", "text2.txt"]),
    ],
)
def test_it_lists_as_the_dialect_does(aws: AwsBackend, arguments: dict[str, object], expected: list[str]) -> None:
    assert list(aws.list_dir_or_file("data", **arguments)) == expected  # type: ignore[arg-type]


def test_a_tree_that_repeats_the_name_of_its_root_is_listed_right(aws: AwsBackend) -> None:
    aws.put(b"", "data/d/d/h.txt")

    assert list(aws.list_dir_or_file("data/d", recursive=True)) == ["d/", "d/h.txt"]


@pytest.mark.parametrize("arguments", [{"suffix": ".txt"}, {"list_dir": False, "suffix": [".txt"]}])
def test_wrong_arguments_of_a_listing_fail_at_the_call(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        AwsBackend().list_dir_or_file("s3://bucket", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"region": "x"}, "backend 'aws' has no option 'region' (did you mean 'region_name'?)"),
        ({"enable_mc": True}, "backend 'aws' has no option 'enable_mc' (known: path_mapping, addressing,"),
        ({"endpoint_url": "localhost"}, "S3Options.endpoint_url must be"),
        ({"path_mapping": 5}, "path_mapping must be a dict"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AwsBackend(**options)  # type: ignore[arg-type]

    assert words in str(caught.value)


def test_nothing_lives_before_the_first_call_or_after_close(s3_tree: str) -> None:
    backend = AwsBackend()
    before = _threads()
    backend.get(f"{s3_tree}/text1.txt")
    during = _threads()
    backend.close()
    backend.close()

    assert (before, len(during), _threads()) == ([], 1, [])
    assert backend.get_text(f"{s3_tree}/text1.txt") == "text1"
    backend.close()


def test_it_closes_when_it_is_collected(s3_tree: str) -> None:
    backend = AwsBackend()
    backend.get(f"{s3_tree}/text1.txt")
    del backend
    gc.collect()

    assert _threads() == []


def test_threads_share_one_connection_pool(aws: AwsBackend) -> None:
    results = []
    threads = [threading.Thread(target=lambda: results.append(aws.get_text("data/text1.txt"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == ["text1"] * 8
    assert len(_threads()) == 1


def test_it_pickles_as_its_configuration(aws: AwsBackend) -> None:
    aws.get("data/text1.txt")
    copy = pickle.loads(pickle.dumps(aws))

    assert repr(copy) == repr(aws)
    assert copy.get_text("data/text1.txt") == "text1"
    copy.close()


def _get_in_child(backend: AwsBackend, results: SimpleQueue[str]) -> None:
    results.put(backend.get_text("data/text1.txt"))
    backend.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_works_in_a_child_whatever_its_parent_did(aws: AwsBackend, method: str) -> None:
    aws.get("data/text1.txt")
    context = multiprocessing.get_context(method)
    results: SimpleQueue[str] = context.SimpleQueue()
    child = context.Process(target=_get_in_child, args=(aws, results))
    child.start()

    assert results.get() == "text1"
    child.join(10)
    assert child.exitcode == 0
    assert aws.get_text("data/text2.txt") == "text2"
