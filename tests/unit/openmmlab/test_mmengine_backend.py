"""mmengine's backend does what mmengine's own tests ask of its petrel backend on a live server, and a little more."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import SameFileError

import mmengine.fileio as fileio
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.openmmlab.mmengine_backend import AWSBackend
from asyncio_loader.openmmlab.prefetched import offering
from tests.unit.openmmlab.conftest import TREE

Fill = Callable[[str, Mapping[str, bytes]], None]


@pytest.fixture
def backend() -> AWSBackend:
    return AWSBackend()


@pytest.fixture
def local_tree(tmp_path: Path) -> Path:
    root = tmp_path / "local"
    for name, data in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def names(backend: AWSBackend, root: str) -> set[str]:
    return set(backend.list_dir_or_file(root, list_dir=False, recursive=True))


def local_names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


class TestOnServers:
    """Each on moto and on rclone."""

    def test_get_gives_bytes(self, backend: AWSBackend, tree: str) -> None:
        data = backend.get(f"{tree}/dir2/img.jpg")

        assert type(data) is bytes
        assert data == TREE["dir2/img.jpg"]

    def test_get_text_decodes(self, backend: AWSBackend, tree: str) -> None:
        backend.put("größer".encode("latin-1"), f"{tree}/latin.txt")

        assert backend.get_text(f"{tree}/text1.txt") == "text1"
        assert backend.get_text(f"{tree}/latin.txt", encoding="latin-1") == "größer"

    def test_what_is_put_is_there(self, backend: AWSBackend, tree: str) -> None:
        backend.put(b"new", f"{tree}/new/file")
        backend.put_text("née", f"{tree}/new/text", encoding="utf-16")

        assert backend.get(f"{tree}/new/file") == b"new"
        assert backend.get_text(f"{tree}/new/text", encoding="utf-16") == "née"

    def test_a_missing_object_is_a_missing_file(self, backend: AWSBackend, tree: str) -> None:
        with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
            backend.get(f"{tree}/missing.txt")

    @pytest.mark.parametrize(
        ("path", "exists", "isdir", "isfile"),
        [
            ("text1.txt", True, False, True),
            ("dir2", True, True, False),
            ("dir2/", True, True, False),
            ("dir", False, False, False),
            ("missing.txt", False, False, False),
        ],
    )
    def test_what_a_path_is(
        self, backend: AWSBackend, tree: str, path: str, exists: bool, isdir: bool, isfile: bool
    ) -> None:
        asked = f"{tree}/{path}"

        assert (backend.exists(asked), backend.isdir(asked), backend.isfile(asked)) == (exists, isdir, isfile)

    def test_a_local_path_lasts_as_long_as_its_block(self, backend: AWSBackend, tree: str) -> None:
        with backend.get_local_path(f"{tree}/dir2/img.jpg") as path:
            assert Path(path).read_bytes() == TREE["dir2/img.jpg"]
            assert path.endswith(".jpg")

        assert not os.path.exists(path)

    def test_copyfile_to_a_file_and_into_a_directory(self, backend: AWSBackend, tree: str) -> None:
        source = f"{tree}/text1.txt"

        assert backend.copyfile(source, f"{tree}/copy.txt") == f"{tree}/copy.txt"
        assert backend.copyfile(source, f"{tree}/dir1") == f"{tree}/dir1/text1.txt"
        assert backend.get(f"{tree}/copy.txt") == backend.get(f"{tree}/dir1/text1.txt") == b"text1"

    @pytest.mark.parametrize("target", ["text1.txt", ""])
    def test_a_file_is_not_copied_onto_itself(self, backend: AWSBackend, tree: str, target: str) -> None:
        with pytest.raises(SameFileError):
            backend.copyfile(f"{tree}/text1.txt", f"{tree}/{target}")

    def test_copytree(self, backend: AWSBackend, tree: str, bucket: str) -> None:
        assert backend.copytree(tree, f"{bucket}/copy/") == f"{bucket}/copy"
        assert names(backend, f"{bucket}/copy") == set(TREE)
        assert {name: backend.get(f"{bucket}/copy/{name}") for name in TREE} == TREE

    def test_copies_of_trees_replace_nothing(self, backend: AWSBackend, tree: str, local_tree: Path) -> None:
        with pytest.raises(FileExistsError, match="dir2 exists already"):
            backend.copytree(f"{tree}/dir1", f"{tree}/dir2")
        with pytest.raises(FileExistsError, match="dir2 exists already"):
            backend.copytree_from_local(local_tree, f"{tree}/dir2")

    def test_copyfile_from_local(self, backend: AWSBackend, bucket: str, local_tree: Path) -> None:
        backend.put(b"", f"{bucket}/d/a")

        assert backend.copyfile_from_local(local_tree / "text1.txt", f"{bucket}/x") == f"{bucket}/x"
        assert backend.copyfile_from_local(str(local_tree / "text1.txt"), f"{bucket}/d") == f"{bucket}/d/text1.txt"
        assert backend.get(f"{bucket}/x") == backend.get(f"{bucket}/d/text1.txt") == b"text1"

    def test_copytree_from_local(self, backend: AWSBackend, bucket: str, local_tree: Path) -> None:
        assert backend.copytree_from_local(local_tree, f"{bucket}/up") == f"{bucket}/up"
        assert {name: backend.get(f"{bucket}/up/{name}") for name in names(backend, f"{bucket}/up")} == TREE

    def test_copyfile_to_local(self, backend: AWSBackend, tree: str, tmp_path: Path) -> None:
        as_text = backend.copyfile_to_local(f"{tree}/text1.txt", str(tmp_path / "a.txt"))
        as_path = backend.copyfile_to_local(f"{tree}/text1.txt", tmp_path)

        assert as_text == str(tmp_path / "a.txt")
        assert as_path == tmp_path / "text1.txt"
        assert as_path.read_bytes() == Path(as_text).read_bytes() == b"text1"

    def test_copytree_to_local(self, backend: AWSBackend, tree: str, tmp_path: Path) -> None:
        target = tmp_path / "down"

        assert backend.copytree_to_local(tree, target) == target
        assert {name: (target / name).read_bytes() for name in local_names(target)} == TREE

    def test_remove(self, backend: AWSBackend, tree: str) -> None:
        backend.remove(f"{tree}/text1.txt")

        assert not backend.exists(f"{tree}/text1.txt")
        with pytest.raises(FileNotFoundError, match=r"text1\.txt does not exist"):
            backend.remove(f"{tree}/text1.txt")
        with pytest.raises(IsADirectoryError, match="dir2 is a directory"):
            backend.remove(f"{tree}/dir2")

    def test_rmtree_takes_this_directory_alone(self, backend: AWSBackend, tree: str) -> None:
        backend.put(b"", f"{tree}/dir20/neighbour")

        backend.rmtree(f"{tree}/dir2")

        assert not backend.exists(f"{tree}/dir2")
        assert names(backend, tree) == {"dir1/text3.txt", "dir20/neighbour", "text1.txt", "text2.txt"}

    def test_no_links_are_made_but_copies(self, backend: AWSBackend, tree: str) -> None:
        assert backend.copy_if_symlink_fails(f"{tree}/text1.txt", f"{tree}/linked.txt") is False
        assert backend.copy_if_symlink_fails(f"{tree}/dir2", f"{tree}/linked") is False
        assert backend.get(f"{tree}/linked.txt") == b"text1"
        assert names(backend, f"{tree}/linked") == {"dir3/text4.txt", "img.jpg"}

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({}, {"dir1", "dir2", "text1.txt", "text2.txt"}),
            ({"recursive": True}, {"dir1", "dir2", "dir2/dir3", *TREE}),
            ({"list_file": False}, {"dir1", "dir2"}),
            ({"list_file": False, "recursive": True}, {"dir1", "dir2", "dir2/dir3"}),
            ({"list_dir": False}, {"text1.txt", "text2.txt"}),
            ({"list_dir": False, "recursive": True}, set(TREE)),
            ({"list_dir": False, "suffix": ".txt"}, {"text1.txt", "text2.txt"}),
            ({"list_dir": False, "suffix": (".txt", ".jpg")}, {"text1.txt", "text2.txt"}),
            ({"list_dir": False, "suffix": ".txt", "recursive": True}, set(TREE) - {"dir2/img.jpg"}),
            ({"list_dir": False, "suffix": (".txt", ".jpg"), "recursive": True}, set(TREE)),
        ],
    )
    @pytest.mark.parametrize("end", ["", "/"])
    def test_list(self, backend: AWSBackend, tree: str, asked: dict, expected: set[str], end: str) -> None:
        found = list(backend.list_dir_or_file(f"{tree}{end}", **asked))

        assert set(found) == expected
        assert len(found) == len(expected)

    def test_mmengine_reads_and_writes_by_uri(self, tree: str) -> None:
        fileio.dump({"a": 1}, f"{tree}/values.json")

        assert fileio.load(f"{tree}/values.json") == {"a": 1}
        assert fileio.list_from_file(f"{tree}/text1.txt") == ["text1"]
        assert fileio.get(f"{tree}/text1.txt") == b"text1"
        assert fileio.exists(f"{tree}/text1.txt")

    def test_mmengine_reads_by_a_mapped_path(self, tree: str) -> None:
        args = {"backend": "aws", "path_mapping": {"data/": f"{tree}/"}}

        assert fileio.get("data/text1.txt", backend_args=args) == b"text1"
        with fileio.get_local_path("data/dir1/text3.txt", backend_args=args) as path:
            assert Path(path).read_text() == "text3"


def test_rmtree_takes_the_marks_of_directories_too(moto_environ: object, backend: AWSBackend, fill: Fill) -> None:
    # On moto alone: rclone keeps files on disk, and none can be named "marked/".
    root = "s3://openmmlab-marks/d"
    fill(root, {"": b"", "marked/": b"", "a": b""})

    backend.rmtree(root)

    assert not backend.exists(root)


def test_a_key_that_leads_out_of_the_directory_is_not_written(
    moto_environ: object, backend: AWSBackend, tmp_path: Path, fill: Fill
) -> None:
    root = "s3://openmmlab-escape/d"
    fill(root, {"../evil": b""})

    with pytest.raises(ConfigError, match=r"'\.\./evil' would be written outside"):
        backend.copytree_to_local(root, tmp_path / "into")

    assert list(tmp_path.rglob("evil")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"suffix": 4, "list_dir": False},
        {"suffix": [".txt"], "list_dir": False},
        {"suffix": ".txt"},
    ],
)
def test_listings_are_refused_at_the_call(backend: AWSBackend, arguments: dict) -> None:
    with pytest.raises(TypeError, match="`suffix`"):
        backend.list_dir_or_file("s3://bucket/d", **arguments)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("s3://b/d", "file"), "s3://b/d/file"),
        (("s3://b/d/", "file"), "s3://b/d/file"),
        (("s3://b/d", "dir", "file"), "s3://b/d/dir/file"),
        (("s3://b/d", "/dir/", "file"), "s3://b/d/dir/file"),
        (("s3://b\\d", "file"), "s3://b/d/file"),
        ((Path("data/x"), "file"), "s3://mapped/x/file"),
    ],
)
def test_join_path(parts: tuple[str, ...], joined: str) -> None:
    assert AWSBackend(path_mapping={"data": "s3://mapped"}).join_path(*parts) == joined


def test_what_was_fetched_ahead_is_not_fetched_again() -> None:
    backend = AWSBackend(path_mapping={"data": "s3://b"}, endpoint_url="http://127.0.0.1:1")

    with offering({"s3://b/a.jpg": b"ahead"}):
        assert backend.get("data/a.jpg") == b"ahead"


def test_there_is_no_symbolic_link_on_s3(backend: AWSBackend) -> None:
    assert backend.allow_symlink is False
    assert backend.name == "AWSBackend"


def test_a_wrong_option_shows_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'endpoint' .*did you mean 'endpoint_url'"):
        AWSBackend(endpoint="http://x")


def test_any_number_of_backends_has_one_client() -> None:
    for _ in range(2):
        AWSBackend(region_name="eu-west-1")

    assert len([client for client in FileClient._instances.values() if "eu-west-1" in repr(client)]) == 1


def test_arguments_are_json_and_the_backend_pickles() -> None:
    arguments = {"path_mapping": {"data": "s3://b"}, "endpoint_url": "http://127.0.0.1:1", "part_size_bytes": 2**23}
    backend = AWSBackend(**json.loads(json.dumps(arguments)))

    assert repr(pickle.loads(pickle.dumps(backend))) == repr(backend)
