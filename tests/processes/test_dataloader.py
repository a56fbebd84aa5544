"""The drop-in promise: one order, whatever starts the workers, however many there are, persistent or not."""

from __future__ import annotations

import gc
import json
import multiprocessing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, CocoDataset, Fetched, Loader, LoaderError, collate_detection
from asyncio_loader.errors import DecodeError, ObjectNotFound

IMAGES = 11
STARTS = ["fork", "spawn", "forkserver"]

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "Resize", "img_scale": (60, 40), "keep_ratio": True},
    {"type": "RandomFlip", "flip_ratio": 0.5},
    {"type": "Normalize", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "to_rgb": True},
    {"type": "Pad", "size_divisor": 32},
    {"type": "DefaultFormatBundle"},
    {"type": "Collect", "keys": ["img", "gt_bboxes", "gt_labels"]},
]


@pytest.fixture(scope="module", autouse=True)
def _import_once() -> None:
    """Without this every worker that a forkserver starts would import torch for itself: three seconds each."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["asyncio_loader.datasets.coco"])


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven small images with one box each, in COCO layout."""
    root = tmp_path_factory.mktemp("coco")
    (root / "images").mkdir()
    random = np.random.default_rng(0)
    images, boxes = [], []
    for n in range(IMAGES):
        cv2.imwrite(str(root / "images" / f"{n}.png"), random.integers(0, 255, (40, 60, 3), dtype=np.uint8))
        images.append({"id": n, "file_name": f"{n}.png", "width": 60, "height": 40})
        box = {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [n, 2, 20, 20], "area": 400, "iscrowd": 0}
        boxes.append(box)
    annotations = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    (root / "annotations.json").write_text(json.dumps(annotations))
    return root


def make_dataset(root: Path, **options: Any) -> CocoDataset:
    return CocoDataset(
        str(root / "annotations.json"),
        str(root / "images"),
        PIPELINE,
        classes=("cell",),
        seed=4,
        batch_size=2,
        **options,
    )


def fingerprint(batches: Any) -> list[Any]:
    """Everything that tells one sample from another: name, pixels (flip included), boxes."""
    return [
        [(t["ori_filename"], float(i.double().sum()), t["boxes"].tolist()) for i, t in zip(*batch, strict=True)]
        for batch in batches
    ]


def make_loader(dataset: Any, workers: int, start: str | None = None, *, persistent: bool = False) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        collate_fn=collate_detection,
        multiprocessing_context=start,
        persistent_workers=persistent,
    )


@pytest.fixture(scope="module")
def expected(coco: Path) -> list[list[Any]]:
    """Two epochs without workers."""
    dataset = make_dataset(coco)
    epochs = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        epochs.append(fingerprint(make_loader(dataset, 0)))
    assert epochs[0] != epochs[1]
    return epochs


@pytest.mark.parametrize("persistent", [False, True], ids=["new", "persistent"])
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("start", STARTS)
def test_workers_give_the_same_samples_in_the_same_order(
    coco: Path, expected: list[list[Any]], start: str, workers: int, persistent: bool
) -> None:
    dataset = make_dataset(coco)
    loader = make_loader(dataset, workers, start, persistent=persistent)

    first = fingerprint(loader)
    dataset.set_epoch(1)
    second = fingerprint(loader)

    assert [first, second] == expected


@pytest.mark.parametrize("persistent", [False, True], ids=["new", "persistent"])
@pytest.mark.parametrize("start", STARTS)
def test_after_an_early_break_an_epoch_starts_anew(
    coco: Path, expected: list[list[Any]], start: str, persistent: bool
) -> None:
    loader = make_loader(make_dataset(coco), 2, start, persistent=persistent)
    for batch in loader:
        assert fingerprint([batch]) == expected[0][:1]
        break

    assert fingerprint(loader) == expected[0]


def test_without_workers_an_early_break_does_no_harm(coco: Path, expected: list[list[Any]]) -> None:
    loader = make_loader(make_dataset(coco), 0)
    next(iter(loader))

    assert fingerprint(loader) == expected[0]


def test_the_threaded_loader_gives_them_too(coco: Path, expected: list[list[Any]]) -> None:
    with Loader(make_dataset(coco), 2, threads=3) as loader:
        assert fingerprint(loader) == expected[0]


def test_no_worker_outlives_its_loader(coco: Path) -> None:
    loader = make_loader(make_dataset(coco), 2, "fork", persistent=True)
    next(iter(loader))

    del loader
    gc.collect()

    assert multiprocessing.active_children() == []


def test_workers_may_be_forked_while_a_loader_runs_in_the_parent(coco: Path, expected: list[list[Any]]) -> None:
    with Loader(make_dataset(coco), 2) as running:
        iteration = iter(running)
        next(iteration)

        assert fingerprint(make_loader(make_dataset(coco), 2, "fork")) == expected[0]
        assert fingerprint(iteration) == expected[0][1:]


def name_of(fetched: Fetched) -> str:
    return fetched.ref.uri


@pytest.mark.parametrize("start", STARTS)
def test_an_error_keeps_its_type_and_the_key_on_the_way_out_of_a_worker(tmp_path: Path, start: str) -> None:
    missing = str(tmp_path / "missing.jpg")
    loader = DataLoader(
        AsyncIterableDataset([missing], transform=name_of), num_workers=1, multiprocessing_context=start
    )

    with pytest.raises(ObjectNotFound, match=r"missing\.jpg"):
        list(loader)


def test_a_broken_image_is_named_with_its_type_out_of_a_worker(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in (coco / "images").iterdir():
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes()[:100])
    (tmp_path / "annotations.json").write_bytes((coco / "annotations.json").read_bytes())

    with pytest.raises(DecodeError, match=r"\d+\.png") as caught:
        list(make_loader(make_dataset(tmp_path), 1, "fork"))
    assert isinstance(caught.value, LoaderError)
