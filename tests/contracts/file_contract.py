"""What a `FileClient` promises of files, wherever they are. A subclass gives two fixtures and gets all tests.

The cases are those of mmcv's and mmengine's own tests of their backends, on the tree that these use, and what our
`FileClient.open` adds.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from asyncio_loader import FileClient
from asyncio_loader.errors import ConfigError, ObjectNotFound

MIB = 1024 * 1024

TREE = {
    "dir1/text3.txt": b"text3",
    "dir2/dir3/text4.txt": b"text4",
    "dir2/img.jpg": cv2.imencode(".jpg", np.zeros((4, 6, 3), np.uint8))[1].tobytes(),
    "text1.txt": b"text1",
    "text2.txt": b"text2",
}

DIRS = ["dir1", "dir2", "dir2/dir3"]
# More than one part of the store, and no whole number of parts.
LARGE = np.random.default_rng(0).bytes(17 * MIB + 5)


class FileContract:
    """Subclasses define `client` and `root`, and may set the class attributes."""

    slash = "/"
    """What a directory's name ends with in a listing."""

    is_local = False
    """True where files are files already: `get_local_path` gives the file itself, and a directory must be there."""

    @pytest.fixture
    def client(self) -> FileClient:
        """A client that maps the path ``data`` to the root, unless it is local."""
        raise NotImplementedError

    @pytest.fixture
    def root(self) -> str:
        """A directory without a slash at its end, under which nothing is yet."""
        raise NotImplementedError

    @pytest.fixture
    def tree(self, client: FileClient, root: str) -> str:
        for name, data in TREE.items():
            client.put(data, f"{root}/{name}")
        return root

    @pytest.fixture
    def data(self, root: str, tree: str) -> str:
        """The root as a config names it."""
        return root if self.is_local else "data"

    def test_a_checkpoint_hook_may_link_local_files_alone(self, client: FileClient) -> None:
        assert client.allow_symlink is self.is_local

    @pytest.mark.parametrize("kind", [str, Path])
    def test_get_takes_strings_and_paths(self, client: FileClient, data: str, kind: type) -> None:
        assert bytes(client.get(kind(f"{data}/text1.txt"))) == b"text1"

    def test_an_image_decodes_from_what_get_gives(self, client: FileClient, tree: str) -> None:
        image = cv2.imdecode(np.frombuffer(client.get(f"{tree}/dir2/img.jpg"), np.uint8), cv2.IMREAD_COLOR)

        assert image.shape == (4, 6, 3)

    def test_text_comes_decoded(self, client: FileClient, tree: str) -> None:
        assert client.get_text(f"{tree}/text1.txt") == "text1"

    @pytest.mark.parametrize("name", ["nothing", "dir1/nothing.txt", "dir1", "text1.txt/below"])
    def test_a_missing_file_is_named(self, client: FileClient, tree: str, name: str) -> None:
        with pytest.raises(ObjectNotFound, match=f"{tree}/{name}") as caught:
            client.get(f"{tree}/{name}")

        assert isinstance(caught.value, FileNotFoundError)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_put_takes_buffers_and_makes_directories(self, client: FileClient, root: str, kind: type) -> None:
        client.put(kind(b"data"), f"{root}/new/deep/file")

        assert bytes(client.get(f"{root}/new/deep/file")) == b"data"

    def test_put_replaces(self, client: FileClient, tree: str) -> None:
        client.put(b"1", f"{tree}/text1.txt")

        assert bytes(client.get(f"{tree}/text1.txt")) == b"1"

    def test_text_goes_encoded(self, client: FileClient, root: str) -> None:
        client.put_text("é", f"{root}/a")
        client.put_text("é", f"{root}/b", encoding="latin-1")

        assert (bytes(client.get(f"{root}/a")), bytes(client.get(f"{root}/b"))) == (b"\xc3\xa9", b"\xe9")
        assert client.get_text(f"{root}/b", encoding="latin-1") == "é"

    def test_an_empty_file_is_a_file(self, client: FileClient, root: str) -> None:
        client.put(b"", f"{root}/empty")

        assert bytes(client.get(f"{root}/empty")) == b""
        assert client.isfile(f"{root}/empty")
        with client.open(f"{root}/empty") as file, client.get_local_path(f"{root}/empty") as path:
            assert (file.read(), Path(path).read_bytes()) == (b"", b"")

    def test_a_large_file_comes_back_by_every_way(self, client: FileClient, root: str) -> None:
        client.put(LARGE, f"{root}/large.bin")

        assert client.get(f"{root}/large.bin") == LARGE
        with client.get_local_path(f"{root}/large.bin") as path:
            assert Path(path).read_bytes() == LARGE
        with client.open(f"{root}/large.bin") as file:
            assert file.read() == LARGE

    @pytest.mark.parametrize("name", ["with space", "plus+plus", "per%20cent%", "ünï-日本", "a&b=c;d,e@f", "q?m#h"])
    def test_odd_names_are_taken_literally(self, client: FileClient, root: str, name: str) -> None:
        client.put(b"1", f"{root}/odd/{name}")

        assert bytes(client.get(f"{root}/odd/{name}")) == b"1"
        assert list(client.list_dir_or_file(f"{root}/odd")) == [name]

    def test_remove_removes_this_file_alone(self, client: FileClient, tree: str) -> None:
        client.remove(f"{tree}/text1.txt")
        client.remove(f"{tree}/text1.txt")

        assert not client.exists(f"{tree}/text1.txt")
        assert client.exists(f"{tree}/text2.txt")

    @pytest.mark.parametrize(
        ("name", "exists", "isfile", "isdir"),
        [
            ("text1.txt", True, True, False),
            ("dir2/img.jpg", True, True, False),
            ("dir1", True, False, True),
            ("dir1/", True, False, True),
            ("dir2/dir3", True, False, True),
            ("", True, False, True),
            ("nothing", False, False, False),
            ("nothing/", False, False, False),
            ("dir", False, False, False),
            ("text1", False, False, False),
            ("dir1/text1.txt", False, False, False),
        ],
    )
    def test_files_and_directories_are_told_apart(
        self, client: FileClient, tree: str, name: str, exists: bool, isfile: bool, isdir: bool
    ) -> None:
        path = f"{tree}/{name}"

        assert (client.exists(path), client.isfile(path), client.isdir(path)) == (exists, isfile, isdir)

    @pytest.mark.parametrize(
        ("parts", "joined"),
        [
            (("", "file"), "/file"),
            (("/", "file"), "/file"),
            (("", "dir", "file"), "/dir/file"),
            (("/dir/", "f"), "/dir/f"),
        ],
    )
    def test_paths_are_joined_by_one_slash(
        self, client: FileClient, root: str, parts: tuple[str, ...], joined: str
    ) -> None:
        assert client.join_path(root + parts[0], *parts[1:]) == root + joined

    def test_a_joined_path_is_read(self, client: FileClient, data: str) -> None:
        path = client.join_path(data, "dir2", "dir3", "text4.txt")

        assert client.get_text(path) == "text4"
        assert client.join_path(path) == path

    def test_a_local_path_has_content_and_extension(self, client: FileClient, data: str) -> None:
        with client.get_local_path(f"{data}/dir2/img.jpg") as path:
            assert Path(path).suffix == ".jpg"
            assert Path(path).read_bytes() == TREE["dir2/img.jpg"]

        assert os.path.exists(path) is self.is_local
        assert client.isfile(f"{data}/dir2/img.jpg")

    @pytest.mark.parametrize(
        ("arguments", "dirs", "files"),
        [
            ({}, DIRS[:2], ["text1.txt", "text2.txt"]),
            ({"recursive": True}, DIRS, list(TREE)),
            ({"list_file": False}, DIRS[:2], []),
            ({"list_file": False, "recursive": True}, DIRS, []),
            ({"list_dir": False}, [], ["text1.txt", "text2.txt"]),
            ({"list_dir": False, "recursive": True}, [], list(TREE)),
            ({"list_dir": False, "suffix": ".txt"}, [], ["text1.txt", "text2.txt"]),
            ({"list_dir": False, "suffix": ".jpg"}, [], []),
            ({"list_dir": False, "suffix": (".txt", ".jpg")}, [], ["text1.txt", "text2.txt"]),
            ({"list_dir": False, "suffix": ".jpg", "recursive": True}, [], ["dir2/img.jpg"]),
            ({"list_dir": False, "suffix": ".txt", "recursive": True}, [], [n for n in TREE if n.endswith(".txt")]),
            ({"list_dir": False, "suffix": (".txt", ".jpg"), "recursive": True}, [], list(TREE)),
            ({"list_dir": False, "list_file": False, "recursive": True}, [], []),
        ],
    )
    @pytest.mark.parametrize("end", ["", "/"])
    def test_a_directory_is_listed(
        self, client: FileClient, data: str, end: str, arguments: dict[str, Any], dirs: list[str], files: list[str]
    ) -> None:
        expected = sorted([f"{name}{self.slash}" for name in dirs] + files)

        assert list(client.list_dir_or_file(f"{data}{end}", **arguments)) == expected

    def test_the_listing_of_a_directory_is_relative_to_it(self, client: FileClient, tree: str) -> None:
        assert list(client.list_dir_or_file(f"{tree}/dir2", recursive=True)) == [
            f"dir3{self.slash}",
            "dir3/text4.txt",
            "img.jpg",
        ]

    def test_a_name_that_its_directory_repeats_is_listed_right(self, client: FileClient, root: str) -> None:
        client.put(b"", f"{root}/d/d/h.txt")

        assert list(client.list_dir_or_file(f"{root}/d", recursive=True)) == [f"d{self.slash}", "d/h.txt"]

    def test_what_begins_like_a_directory_is_not_in_it(self, client: FileClient, root: str) -> None:
        client.put(b"", f"{root}/dir/a")
        client.put(b"", f"{root}/dir-b")

        assert list(client.list_dir_or_file(f"{root}/dir", recursive=True)) == ["a"]

    @pytest.mark.parametrize("arguments", [{"suffix": ".txt"}, {"list_dir": False, "suffix": [".txt"]}])
    def test_wrong_arguments_of_a_listing_fail_at_the_call(
        self, client: FileClient, root: str, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigError):
            client.list_dir_or_file(root, **arguments)

    def test_an_open_file_reads_and_seeks(self, client: FileClient, data: str) -> None:
        with client.open(f"{data}/text1.txt") as file:
            assert file.readable()
            assert file.seekable()
            assert file.read(2) == b"te"
            assert file.seek(-2, os.SEEK_END) == 3
            assert file.read() == b"t1"
            assert (file.seek(1), file.tell(), file.readline()) == (1, 1, b"ext1")

        assert file.closed

    def test_an_open_file_jumps_in_a_large_one(self, client: FileClient, root: str) -> None:
        client.put(LARGE, f"{root}/large.bin")

        with client.open(f"{root}/large.bin") as file:
            for start in (len(LARGE) - 10, 3, 9 * MIB, 8 * MIB - 1, 16 * MIB):
                file.seek(start)
                assert file.read(2 * MIB) == LARGE[start : start + 2 * MIB]

    @pytest.mark.parametrize("size", [0, 1, len(LARGE)])
    def test_a_written_file_appears_at_the_end(self, client: FileClient, root: str, size: int) -> None:
        with client.open(f"{root}/new/file", "wb") as file:
            file.write(memoryview(LARGE)[:size])
            assert file.tell() == size
            assert not client.exists(f"{root}/new/file")

        assert client.get(f"{root}/new/file") == LARGE[:size]
        assert list(client.list_dir_or_file(f"{root}/new")) == ["file"]

    @pytest.mark.parametrize("size", [1, len(LARGE)])
    def test_a_block_that_fails_leaves_the_previous_file(self, client: FileClient, tree: str, size: int) -> None:
        def save(name: str) -> None:
            with client.open(f"{tree}/{name}", "wb") as file:
                file.write(memoryview(LARGE)[:size])
                raise KeyError(name)

        for name in ("dir1/text3.txt", "dir1/new"):
            with pytest.raises(KeyError):
                save(name)

        assert client.get_text(f"{tree}/dir1/text3.txt") == "text3"
        assert list(client.list_dir_or_file(f"{tree}/dir1")) == ["text3.txt"]

    def test_a_missing_file_does_not_open(self, client: FileClient, tree: str) -> None:
        with pytest.raises(ObjectNotFound, match=f"{tree}/nothing"), client.open(f"{tree}/nothing"):
            pass
        with pytest.raises(ObjectNotFound, match=f"{tree}/nothing"), client.get_local_path(f"{tree}/nothing") as path:
            Path(path).read_bytes() if not self.is_local else client.get(path)

    @pytest.mark.parametrize("mode", ["r", "w", "a", "ab", "r+b", ""])
    def test_other_modes_are_refused(self, client: FileClient, tree: str, mode: Any) -> None:
        with pytest.raises(ConfigError, match="mode must be 'rb' or 'wb'"), client.open(f"{tree}/text1.txt", mode):
            pass

    def test_torch_saves_and_loads(self, client: FileClient, root: str) -> None:
        state = {"weight": torch.arange(3 * MIB, dtype=torch.float32), "epoch": 3, "empty": torch.zeros(0)}
        with client.open(f"{root}/epoch_3.pth", "wb") as file:
            torch.save(state, file)
        with client.open(f"{root}/epoch_3.pth") as file:
            loaded = torch.load(file, weights_only=True)

        assert loaded["epoch"] == 3
        assert torch.equal(loaded["weight"], state["weight"])

    def test_text_wrappers_read_and_write(self, client: FileClient, root: str) -> None:
        with client.open(f"{root}/log", "wb") as file:
            text = io.TextIOWrapper(file, encoding="utf-8")
            text.write("ä\nb\n")
            text.flush()
            text.detach()
        with client.open(f"{root}/log") as file:
            text = io.TextIOWrapper(file, encoding="utf-8")
            assert list(text) == ["ä\n", "b\n"]
            text.detach()

    def test_a_file_is_copied_through_two_open_ones(self, client: FileClient, tree: str) -> None:
        with client.open(f"{tree}/dir2/img.jpg") as source, client.open(f"{tree}/copy.jpg", "wb") as target:
            shutil.copyfileobj(source, target)

        assert client.get(f"{tree}/copy.jpg") == TREE["dir2/img.jpg"]

    def test_threads_may_share_a_client(self, client: FileClient, tree: str) -> None:
        results: list[bytes] = []

        def work(number: int) -> None:
            client.put(str(number).encode(), f"{tree}/thread/{number}")
            with client.open(f"{tree}/thread/{number}") as file:
                results.append(file.read())

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(results) == [str(number).encode() for number in range(8)]
        assert len(list(client.list_dir_or_file(f"{tree}/thread"))) == 8

    def test_a_pickled_client_reads_the_same(self, client: FileClient, data: str) -> None:
        assert pickle.loads(pickle.dumps(client)).get_text(f"{data}/text1.txt") == "text1"
