from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.training.out_dirs import OutDir, check_writable, read_out_dir
from asyncio_loader.training.sections import Section


def read(**values: Any) -> OutDir | None:
    return read_out_dir(Section(values, "checkpoint_config"))


def test_without_out_dir_there_is_none() -> None:
    assert read() is None
    assert read(out_dir=None, file_client_args=None) is None


@pytest.mark.parametrize(
    ("said", "meant", "is_local"),
    [
        ("s3://bucket/ckpt/", "s3://bucket/ckpt", False),
        ("s3://bucket", "s3://bucket", False),
        ("memory://x/ckpt/", "memory://x/ckpt", False),
        ("some/where/", "some/where", True),
        ("file:///some/where", "/some/where", True),
        ("/", "/", True),
    ],
)
def test_the_uri_says_where(said: str, meant: str, is_local: bool) -> None:
    place = read(out_dir=said)

    assert place is not None
    assert (place.directory, place.is_local) == (meant, is_local)


@pytest.mark.parametrize("chosen", [{}, {"backend": "aws"}, {"prefix": "s3"}])
def test_file_client_args_reach_the_client(chosen: dict[str, str]) -> None:
    place = read(out_dir="s3://bucket/x", file_client_args={**chosen, "endpoint_url": "http://127.0.0.1:9"})

    assert place is not None
    assert isinstance(place.client.client, AwsBackend)
    assert place.client.client.options.endpoint_url == "http://127.0.0.1:9"


def test_in_3x_they_are_backend_args_and_the_disk_is_local() -> None:
    local = {"out_dir": "some/where", "backend_args": {"backend": "local"}}
    place = read_out_dir(Section(local, "default_hooks.logger"), "backend_args")
    wrong = {"out_dir": "s3://bucket/x", "backend_args": {"backend": "local"}}

    assert place is not None
    assert place.is_local
    with pytest.raises(ConfigError, match=r"which default_hooks\.logger\.backend_args \(backend\) are for"):
        read_out_dir(Section(wrong, "default_hooks.logger"), "backend_args")


def test_a_path_that_is_mapped_to_a_uri_is_one() -> None:
    place = read(out_dir="out/x/", file_client_args={"backend": "aws", "path_mapping": {"out/": "s3://bucket/o/"}})

    assert place is not None
    assert (place.directory, place.is_local) == ("s3://bucket/o/x", False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"out_dir": 3}, "checkpoint_config.out_dir=3 must be a non-empty string"),
        ({"out_dir": "s3://"}, "checkpoint_config.out_dir: 's3://'"),
        ({"out_dir": "s4://bucket"}, "checkpoint_config.out_dir='s4://bucket': "),
        ({"out_dir": "https://x/y"}, "checkpoint_config.out_dir='https://x/y': nothing can be written to https://"),
        ({"file_client_args": {"backend": "aws"}}, "checkpoint_config.file_client_args: there is no out_dir"),
        ({"out_dir": "s3://bucket", "file_client_args": 3}, "checkpoint_config.file_client_args=3 must be a dict"),
        ({"out_dir": "s3://bucket", "file_client_args": {"endpoint": "x"}}, "did you mean 'endpoint_url'?"),
        (
            {"out_dir": "ckpt", "file_client_args": {"endpoint_url": "http://x"}},
            "checkpoint_config.out_dir='ckpt' is no URI, which checkpoint_config.file_client_args (endpoint_url) are "
            "for: say out_dir='s3://bucket/…', or leave file_client_args out",
        ),
        (
            {"out_dir": "s3://bucket/x", "file_client_args": {"backend": "disk"}},
            "checkpoint_config.out_dir='s3://bucket/x' is no local path, which checkpoint_config.file_client_args "
            "(backend) are for",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_key(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**values)

    assert said in str(caught.value)


def test_a_directory_that_can_be_made_is_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", "out_dir")

    assert list(tmp_path.iterdir()) == []


def test_a_directory_below_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match=r"^out_dir '.*/file/x': .*/file is not a directory$"):
        check_writable(tmp_path / "file" / "x", "out_dir")
