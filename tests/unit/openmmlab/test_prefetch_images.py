from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.openmmlab.prefetch_images import ImageRefs, S3Only, image_backend, is_on_s3, leaves
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import MAPPED, ImagesOfCase, LoadImageOfCase


class LoadAnnotations:
    """A transform with arguments of its own, which are not those of the image."""

    backend_args = MAPPED


def dataset_reading(*transforms: Any) -> Any:
    return SimpleNamespace(pipeline=SimpleNamespace(transforms=list(transforms)))


def mapped(dataset: Any) -> str:
    return image_backend(dataset).join_path("data/a.jpg")


@pytest.mark.parametrize("name", ["aws", "s3"])
def test_paths_are_mapped_as_the_image_loader_maps_them(name: str) -> None:
    assert mapped(dataset_reading(LoadImageOfCase({**MAPPED, "backend": name}))) == "s3://bucket/a.jpg"


def test_options_are_those_of_the_image_loader() -> None:
    options = image_backend(dataset_reading(LoadImageOfCase({"endpoint_url": "http://127.0.0.1:1"}))).options
    assert options == S3Options(endpoint_url="http://127.0.0.1:1")


@pytest.mark.parametrize("arguments", [None, {}, {"backend": "local"}, {"backend": "http"}])
def test_without_s3_in_the_arguments_paths_stay(arguments: Any) -> None:
    assert mapped(dataset_reading(LoadImageOfCase(arguments))) == "data/a.jpg"


def test_without_any_loader_paths_stay() -> None:
    assert mapped(SimpleNamespace()) == "data/a.jpg"


def test_the_loader_of_images_counts_and_not_that_of_annotations() -> None:
    assert mapped(dataset_reading(LoadAnnotations(), LoadImageOfCase(None))) == "data/a.jpg"


def test_another_transform_counts_where_none_is_called_a_loader_of_images() -> None:
    assert mapped(dataset_reading(LoadAnnotations())) == "s3://bucket/a.jpg"


def test_the_old_name_of_the_arguments_counts_too() -> None:
    old = SimpleNamespace(backend_args=None, file_client_args=MAPPED)
    assert mapped(dataset_reading(old)) == "s3://bucket/a.jpg"


def test_a_loader_inside_of_other_transforms_is_found() -> None:
    choice = SimpleNamespace(transforms=[[SimpleNamespace(transforms=[LoadImageOfCase(MAPPED)])]])
    assert mapped(dataset_reading(choice)) == "s3://bucket/a.jpg"


def test_another_backend_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="backend 'petrel'"):
        image_backend(dataset_reading(LoadImageOfCase({"backend": "petrel"})))


def test_datasets_that_read_differently_are_refused() -> None:
    datasets = [dataset_reading(LoadImageOfCase(MAPPED)), dataset_reading(LoadImageOfCase(None))]
    with pytest.raises(ConfigError, match="different backend_args"):
        image_backend(SimpleNamespace(datasets=datasets))


def test_wrappers_are_looked_through() -> None:
    one, two = ImagesOfCase(count=2), ImagesOfCase(count=3)
    assert list(leaves(RepeatDataset(one, 2))) == [one]
    assert list(leaves(ConcatDataset([one, two]))) == [one, two]


@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (lambda: ImagesOfCase(count=2, first=1), [1, 2]),
        (lambda: ImagesOfCase(count=2, serialize_data=False), [0, 1]),
        (lambda: ImagesOfCase(count=4, indices=[3, 1]), [3, 1]),
        (lambda: ImagesOfCase(count=2, lazy_init=True), [0, 1]),
        (lambda: ConcatDataset([ImagesOfCase(count=1), ImagesOfCase(count=2, first=3)]), [0, 3, 4]),
        (lambda: RepeatDataset(ImagesOfCase(count=2), 2), [0, 1, 0, 1]),
        (lambda: ClassBalancedDataset(ImagesOfCase(count=3), 0.5), [0, 0, 1, 2]),
    ],
    ids=["plain", "not serialized", "indices", "lazy", "concat", "repeat", "balanced"],
)
def test_refs_are_the_images_in_the_order_of_the_dataset(make: Any, numbers: list[int]) -> None:
    dataset = make()
    refs = ImageRefs(dataset, image_backend(dataset))
    assert [refs[index].uri for index in range(len(refs))] == [f"s3://bucket/images/{n}.png" for n in numbers]


@pytest.mark.parametrize("info", [{}, {"img_path": None}, {"img_path": ["a.jpg", "b.jpg"]}])
def test_a_sample_without_one_path_is_named(info: dict[str, Any]) -> None:
    dataset = SimpleNamespace(get_data_info=lambda index: info)
    with pytest.raises(ConfigError, match=r"get_data_info\(7\).*'img_path'"):
        ImageRefs(dataset, AwsBackend())[7]


@pytest.mark.parametrize(
    ("uri", "yes"), [("s3://bucket/key", True), ("/data/a.jpg", False), ("data/a.jpg", False), ("http://s3/a", False)]
)
def test_what_is_on_s3(uri: str, yes: bool) -> None:
    assert is_on_s3(uri) is yes


async def test_the_store_has_nothing_for_what_is_not_on_s3() -> None:
    store = S3Only(S3Options(), FetchOptions())
    assert await store.get("no/such/file.jpg") == b""
    assert (await store.head("http://127.0.0.1:1/a.jpg")).size_bytes == 0
    await store.aclose()


async def test_the_store_reads_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Simulator({"key": b"bytes"}) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        store = pickle.loads(pickle.dumps(S3Only(S3Options(), FetchOptions())))
        assert bytes(await store.get("s3://bucket/key")) == b"bytes"
        assert (await store.head("s3://bucket/key")).size_bytes == 5
        assert [entry.uri async for entry in store.list("s3://bucket/")] == ["s3://bucket/key"]
        await store.aclose()
