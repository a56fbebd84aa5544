from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.options import S3Options
from asyncio_loader.testing import S3Simulator
from asyncio_loader.tuning.listing import choose_objects, list_objects


def test_the_first_objects_with_their_sizes(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(b"x" * (number + 1))

    objects = list_objects(f"{tmp_path}/", S3Options(), 3)

    assert objects == [(str(tmp_path / f"{number}.jpg"), number + 1) for number in range(3)]


def test_marks_of_directories_and_empty_objects_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Simulator({"a/": b"", "a/1.jpg": b"123", "a/2.jpg": b"", "b/3.jpg": b"1"}) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)

        assert list_objects("s3://bucket/a", S3Options(), 10) == [("s3://bucket/a/1.jpg", 3)]


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match="no object's URI starts with that"):
        list_objects(f"{tmp_path}/none", S3Options(), 10)


def test_a_scheme_that_nobody_knows_is_said() -> None:
    with pytest.raises(ConfigError, match="gs://"):
        list_objects("gs://bucket/", S3Options(), 10)


def test_images_are_chosen_where_there_are_some() -> None:
    images: list[tuple[str, int | None]] = [("s3://b/1.JPG", 1), ("s3://b/2.png", None)]
    others: list[tuple[str, int | None]] = [("s3://b/instances.json", 10**9)]

    assert choose_objects(others + images) == images
    assert choose_objects(others) == others
