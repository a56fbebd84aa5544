from __future__ import annotations

import pytest

from asyncio_loader.datasets.undecodable import is_undecodable
from asyncio_loader.errors import DecodeError, LoaderError, ShortRead, TransformError
from asyncio_loader.records import Fetched, ObjectRef
from asyncio_loader.testing import synthetic_jpegs

(JPEG,) = synthetic_jpegs(1, mean_bytes=5000, size=(160, 120))


def fetched(data: bytes = JPEG, uri: str = "s3://b/train/1.jpg") -> Fetched:
    return Fetched(ObjectRef(uri), data)


def caused(error: LoaderError, cause: Exception) -> LoaderError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("key", [None, "s3://b/train/1.jpg", "train/1.jpg"])
def test_what_is_no_image_may_have_come_corrupt(key: str | None) -> None:
    assert is_undecodable(fetched(), DecodeError("no image", key=key))


def test_so_it_is_where_a_transform_says_so_in_its_own_words() -> None:
    assert is_undecodable(fetched(), caused(TransformError("crop failed"), DecodeError("no image")))


def test_a_file_beside_it_is_another_matter() -> None:
    assert not is_undecodable(fetched(), DecodeError("no image", key="stuff/1.png"))


@pytest.mark.parametrize("cut", [20, len(JPEG) // 2])
def test_an_image_that_somebody_elses_decoder_refuses_counts_if_it_is_none(cut: int) -> None:
    error = caused(TransformError("PIL failed"), OSError("image file is truncated"))

    assert is_undecodable(fetched(JPEG[:cut]), error)
    assert is_undecodable(fetched(b"\0" + JPEG[1:]), error)
    assert not is_undecodable(fetched(JPEG), error)


def test_what_claims_to_be_no_image_is_not_looked_at() -> None:
    assert not is_undecodable(fetched(b"{}", "s3://b/1.json"), TransformError("no such key"))
    assert not is_undecodable(fetched(b""), TransformError("not read from here"))


def test_a_file_that_the_transform_could_not_get_is_another_matter() -> None:
    assert not is_undecodable(fetched(b"broken"), ShortRead("s3://b/stuff/1.png: short"))
