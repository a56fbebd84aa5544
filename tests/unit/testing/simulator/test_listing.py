from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.testing.simulator.listing import InvalidArgumentError, ListingQuery, render_page
from asyncio_loader.testing.simulator.spool import StoredObject

NAMES = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}


def store(*keys: str) -> dict[str, StoredObject]:
    return {key: StoredObject(key, memoryview(key.encode()), "e" * 32, 0.0) for key in keys}


def render(objects: dict[str, StoredObject], query: dict[str, str]) -> ElementTree.Element:
    keys = sorted(key.encode() for key in objects)
    return ElementTree.fromstring(render_page("bucket", objects, keys, ListingQuery.parse(query)))


def texts(page: ElementTree.Element, path: str) -> list[Any]:
    return [element.text for element in page.iterfind(path, NAMES)]


def list_all(objects: dict[str, StoredObject], **query: str) -> tuple[list[str], list[str], int]:
    keys, prefixes, pages, token = [], [], 0, ""
    while True:
        page = render(objects, {"encoding-type": "url", **query, **({"continuation-token": token} if token else {})})
        keys += [unquote_plus(text) for text in texts(page, "s3:Contents/s3:Key")]
        prefixes += [unquote_plus(text) for text in texts(page, "s3:CommonPrefixes/s3:Prefix")]
        pages += 1
        if texts(page, "s3:IsTruncated") == ["false"]:
            return keys, prefixes, pages
        (token,) = texts(page, "s3:NextContinuationToken")


def test_a_page_tells_size_etag_and_time() -> None:
    page = render(store("abc"), {})

    assert texts(page, "s3:Contents/s3:Size") == ["3"]
    assert texts(page, "s3:Contents/s3:ETag") == ['"' + "e" * 32 + '"']
    assert texts(page, "s3:Contents/s3:LastModified") == ["1970-01-01T00:00:00.000Z"]
    assert texts(page, "s3:KeyCount") == ["1"]


def test_keys_come_in_the_order_of_their_utf8_bytes() -> None:
    assert list_all(store("b", "B", "ü", "\U0001f600", "￿"))[0] == ["B", "b", "ü", "￿", "\U0001f600"]


def test_a_prefix_narrows() -> None:
    assert list_all(store("a/1", "a/2", "ab", "b"), prefix="a/")[0] == ["a/1", "a/2"]


def test_a_delimiter_folds_what_lies_deeper() -> None:
    keys, prefixes, _ = list_all(store("a/1", "a/b/1", "a/b/2", "a/c/1", "a/z"), prefix="a/", delimiter="/")

    assert keys == ["a/1", "a/z"]
    assert prefixes == ["a/b/", "a/c/"]


def test_a_key_that_ends_with_the_delimiter_is_not_lost() -> None:
    assert list_all(store("a/", "a/1"), prefix="a/", delimiter="/")[0] == ["a/", "a/1"]


def test_no_more_than_a_thousand_come_at_once() -> None:
    objects = store(*(f"{number:05}" for number in range(2500)))

    assert list_all(objects, **{"max-keys": "5000"}) == (sorted(objects), [], 3)


def test_start_after_skips() -> None:
    assert list_all(store("a", "b", "c"), **{"start-after": "a"})[0] == ["b", "c"]


def test_special_characters_survive_with_and_without_url_encoding() -> None:
    objects = store("a&b<c> %2F+.jpg")

    assert texts(render(objects, {}), "s3:Contents/s3:Key") == ["a&b<c> %2F+.jpg"]
    assert list_all(objects)[0] == ["a&b<c> %2F+.jpg"]


def test_a_page_of_no_keys_is_complete() -> None:
    page = render(store("a"), {"max-keys": "0"})

    assert texts(page, "s3:IsTruncated") == ["false"]
    assert texts(page, "s3:KeyCount") == ["0"]


@pytest.mark.parametrize("query", [{"max-keys": "-1"}, {"max-keys": "x"}, {"continuation-token": "%%%"}])
def test_a_wrong_parameter_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError):
        ListingQuery.parse(query)


@given(
    keys=st.sets(st.text(alphabet="ab/ü", min_size=1, max_size=6), max_size=30),
    prefix=st.text(alphabet="ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "b/"]),
    max_keys=st.integers(1, 5),
)
def test_pages_together_are_the_listing_that_one_would_write_down(
    keys: set[str], prefix: str, delimiter: str, max_keys: int
) -> None:
    plain, groups = [], []
    for key in sorted(keys, key=str.encode):
        rest = key.removeprefix(prefix) if key.startswith(prefix) else None
        if rest is None:
            continue
        if delimiter and delimiter in rest:
            group = prefix + rest[: rest.index(delimiter) + len(delimiter)]
            groups += [] if group in groups else [group]
        else:
            plain.append(key)

    found = list_all(store(*keys), prefix=prefix, delimiter=delimiter, **{"max-keys": str(max_keys)})

    assert found[:2] == (plain, groups)
