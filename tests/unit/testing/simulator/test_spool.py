from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.spool import StoredObject, read_spool, write_spool


def carry(directory: Path, objects: Any) -> dict[str, StoredObject]:
    write_spool(directory, objects)
    return read_spool(directory)


def test_a_mapping_arrives(tmp_path: Path) -> None:
    objects = carry(tmp_path, {"a": b"one", "b/ü": bytearray(b"two"), "c": memoryview(b"three")})

    assert {key: bytes(stored.body) for key, stored in objects.items()} == {"a": b"one", "b/ü": b"two", "c": b"three"}
    assert objects["a"].etag == md5(b"one").hexdigest()


def test_a_directory_arrives_with_its_times(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "data" / "sub").mkdir(parents=True)
    file = tmp_path / "data" / "sub" / "x.jpg"
    file.write_bytes(b"x")
    objects = carry(tmp_path / "spool", tmp_path / "data")

    assert list(objects) == ["sub/x.jpg"]
    assert objects["sub/x.jpg"].modified_s == file.stat().st_mtime


def test_of_equal_keys_the_last_one_counts(tmp_path: Path) -> None:
    objects = carry(tmp_path, iter([("a", b"old"), ("a", b"new")]))

    assert bytes(objects["a"].body) == b"new"


def test_nothing_but_empty_objects_arrive(tmp_path: Path) -> None:
    assert bytes(carry(tmp_path, {"a": b""})["a"].body) == b""


def test_equal_bytes_are_held_once(tmp_path: Path) -> None:
    body = b"x" * 10_000
    write_spool(tmp_path, ((f"key {number}", body if number % 2 else bytes(bytearray(body))) for number in range(100)))

    assert (tmp_path / "bodies").stat().st_size == 10_000


def test_a_buffer_that_is_used_again_does_not_change_what_was_read(tmp_path: Path) -> None:
    def refill() -> Any:
        buffer = bytearray(3)
        for number in range(3):
            buffer[:] = b"%03d" % number
            yield str(number), buffer

    assert [bytes(stored.body) for stored in carry(tmp_path, refill()).values()] == [b"000", b"001", b"002"]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"": b""}, "a key must be a non-empty string, not ''"),
        ({"a": "text"}, r"objects\['a'\] must be bytes, not str"),
        ({"\udcff": b""}, "cannot be written in UTF-8"),
        ("/no/such/directory", "'/no/such/directory' is not a directory"),
    ],
)
def test_what_cannot_be_an_object_is_refused(tmp_path: Path, objects: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_spool(tmp_path, objects)
