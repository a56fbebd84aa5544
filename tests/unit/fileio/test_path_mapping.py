"""`PathMapping` maps beginnings of paths, once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.path_mapping import PathMapping

TUTORIAL = {"data/coco/": "s3://yourbucket/demo/data/coco/"}


@pytest.mark.parametrize(
    ("path", "mapped"),
    [
        ("data/coco/train2017/1.jpg", "s3://yourbucket/demo/data/coco/train2017/1.jpg"),
        ("./data/coco/train2017/1.jpg", "s3://yourbucket/demo/data/coco/train2017/1.jpg"),
        ("data/coco", "s3://yourbucket/demo/data/coco"),
        ("data/coco/", "s3://yourbucket/demo/data/coco/"),
        ("data/coco2/1.jpg", "data/coco2/1.jpg"),
        ("/home/me/data/coco/1.jpg", "/home/me/data/coco/1.jpg"),
        ("s3://other/data/coco/1.jpg", "s3://other/data/coco/1.jpg"),
        ("data/coco/data/coco/1.jpg", "s3://yourbucket/demo/data/coco/data/coco/1.jpg"),
    ],
)
def test_the_mapping_of_the_tutorial(path: str, mapped: str) -> None:
    assert PathMapping(TUTORIAL).apply(path) == mapped


def test_the_longest_key_wins_in_any_order() -> None:
    pairs = [("data", "s3://all"), ("data/coco", "s3://coco"), ("/", "s3://root")]

    for mapping in (PathMapping(dict(pairs)), PathMapping(dict(reversed(pairs)))):
        assert mapping.apply("data/coco/1.jpg") == "s3://coco/1.jpg"
        assert mapping.apply("data/voc/1.jpg") == "s3://all/voc/1.jpg"
        assert mapping.apply("/abs/1.jpg") == "s3://root/abs/1.jpg"


def test_no_mapping_maps_nothing() -> None:
    assert PathMapping().apply("data/coco/1.jpg") == "data/coco/1.jpg"


@given(
    st.dictionaries(st.text("ab/.", min_size=1), st.builds("s3://b/{}".format, st.text("ab/.")), max_size=3),
    st.text("ab/.:"),
)
def test_mapping_twice_is_mapping_once(mapping: dict[str, str], path: str) -> None:
    try:
        paths = PathMapping(mapping)
    except ConfigError:
        return

    assert paths.apply(paths.apply(path)) == paths.apply(path)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (["data"], "must be a dict"),
        ({"data": 5}, "must be a dict of paths to URIs, not 'data': 5"),
        ({"": "s3://b"}, "is empty"),
        ({"./": "s3://b"}, "is empty"),
        ({"s3://a": "s3://b"}, "path_mapping: 's3://a' is a URI, and URIs are never mapped"),
        ({"data": "/mnt/data"}, "path_mapping['data'] must be a URI"),
    ],
)
def test_what_is_no_mapping_is_refused(mapping: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PathMapping(mapping)  # type: ignore[arg-type]

    assert words in str(caught.value)
