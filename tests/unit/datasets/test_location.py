from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.location import Location, join_root, read_file
from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.options import S3Options


@pytest.mark.parametrize(
    ("path", "root", "joined"),
    [
        ("train/", "data/coco", "data/coco/train/"),
        ("train/", None, "train/"),
        ("/abs/train", "data/coco", "/abs/train"),
        ("s3://b/train", "data/coco", "s3://b/train"),
        ("train", "s3://b/coco/", "s3://b/coco/train"),
        (None, "data/coco", None),
    ],
)
def test_paths_are_joined_to_the_root_unless_they_are_absolute(
    path: str | None, root: str | None, joined: str | None
) -> None:
    assert join_root(path, root) == joined


def test_aws_arguments_give_mapping_and_storage() -> None:
    location = Location.of(
        {"backend": "aws", "path_mapping": {"data/coco/": "s3://b/coco/"}, "endpoint_url": "http://127.0.0.1:9"}
    )

    assert location.resolve("data/coco/train/1.jpg") == "s3://b/coco/train/1.jpg"
    assert location.storage == S3Options(endpoint_url="http://127.0.0.1:9")


@pytest.mark.parametrize("arguments", [None, {}, {"backend": "disk"}])
def test_disk_leaves_paths_as_they_are(arguments: dict[str, Any] | None) -> None:
    assert Location.of(arguments).resolve("data/coco/1.jpg") == "data/coco/1.jpg"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "petrel"}, "backend 'aws'"),
        ({"backend": "disk", "path_mapping": {"a": "s3://b"}}, "backend 'aws'"),
        ({"backend": "aws", "endpoint": "http://x"}, "did you mean 'endpoint_url'"),
    ],
)
def test_what_cannot_be_fetched_ahead_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Location.of(arguments)


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")

    assert read_file(str(tmp_path / "a.json"), {"backend": "disk"}) == b"{}"


def test_a_missing_file_is_an_object_not_found(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"b\.json"):
        read_file(str(tmp_path / "b.json"), None)


def test_a_refusal_repeats_no_value_that_may_be_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        Location.of({"backend": "petrel", "secret_key": "hunter2"})

    assert "secret_key" in str(caught.value)
    assert "hunter2" not in str(caught.value)
