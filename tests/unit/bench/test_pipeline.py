from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from asyncio_loader import load_config
from bench.cases import Settings, pipeline
from bench.images import DetectionData, read_bccd
from bench.pipelines import Batch, Item, largest_difference, openmmlab, ours, run, run_stages, vision

# It goes to torchcodec in time; until then it is what people have.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[3]
FEW = ROOT / "tests/data/bccd"
IMAGES = 6


@pytest.fixture(autouse=True)
def few_images_and_native_threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ASYNCIO_LOADER_SHARED", "/nowhere")
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


@pytest.fixture(scope="module")
def data() -> DetectionData:
    return read_bccd(IMAGES, FEW)


@pytest.fixture(scope="module")
def items(data: DetectionData) -> list[Item]:
    return ours.items_of(data, ours.dataset_of(data, fuse=True), 0)


def reference(items: list[Item]) -> Batch:
    return openmmlab.finish([run_stages(openmmlab.STAGES, item.sample()) for item in items])


def test_the_pipeline_is_the_tutorials() -> None:
    config: Any = load_config(ROOT / "pipelines/faster_rcnn/faster_rcnn_r50_fpn_1x_coco_s3.py")
    written = [{k: v for k, v in entry.items() if k != "file_client_args"} for entry in config["train_pipeline"]]

    assert [dict(entry) for entry in ours.PIPELINE] == written
    assert config["data"]["samples_per_gpu"] == pipeline.BATCH


def test_as_many_images_as_asked_for_each_with_its_boxes(data: DetectionData) -> None:
    dataset = ours.dataset_of(data, fuse=True)

    assert len(data.objects) == len(dataset) == IMAGES
    # The four of the tests, and the first two again.
    assert list(data.objects.values())[:2] == list(data.objects.values())[4:]
    assert all(len(dataset.index.ann_info(at)["labels"]) > 0 for at in range(IMAGES))


def test_items_are_flipped_or_not(items: list[Item]) -> None:
    assert {item.flip for item in items} == {False, True}


@pytest.mark.parametrize("fuse", [True, False])
def test_ours_is_the_reference_to_the_last_bit(items: list[Item], fuse: bool) -> None:
    stages = ours.stages_of(fuse=fuse)
    batch = ours.finish([run_stages(stages, ours.start(item)) for item in items])

    assert largest_difference(batch, reference(items)) == (0.0, 0.0)
    assert batch.images.shape == (IMAGES, 3, 800, 1088)


def test_torchvision_is_within_a_level(items: list[Item]) -> None:
    batch = vision.finish([run_stages(vision.STAGES, item.sample()) for item in items])
    image, boxes = largest_difference(batch, reference(items))

    assert 0 < image < 1.001 / 57.12
    assert boxes < 0.01


def test_a_difference_is_found(items: list[Item]) -> None:
    batch, other = reference(items[:1]), reference(items[1:2])
    shorter = Batch(images=batch.images[..., :-1], boxes=batch.boxes, labels=batch.labels)
    relabelled = Batch(images=batch.images, boxes=batch.boxes, labels=[batch.labels[0] + 1])
    darker = Batch(images=batch.images - 0.5, boxes=[batch.boxes[0] + 2], labels=batch.labels)

    assert largest_difference(darker, batch) == pytest.approx((0.5, 2.0), abs=1e-4)
    with pytest.raises(ValueError, match="reference has"):
        largest_difference(shorter, batch)
    with pytest.raises(ValueError, match="labels"):
        largest_difference(relabelled, batch)
    assert not torch.equal(batch.images, other.images)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("load", {"threads": 2}),
        ("load", {"threads": 1, "fuse": False}),
        ("load", {"threads": 2, "is_lean": True}),
        ("load_in_processes", {"processes": 2}),
        ("map_in_threads", {"way": "openmmlab", "threads": 2}),
        ("map_in_threads", {"way": "vision", "threads": 1}),
        ("load_with_workers", {"way": "ours"}),
        ("load_with_workers", {"way": "ours", "is_lean": True}),
        ("load_with_workers", {"way": "openmmlab"}),
    ],
)
def test_contenders_make_the_reference_s_batches(function: str, arguments: dict[str, Any], batch_size: int) -> None:
    figures = getattr(run, function)(images=IMAGES, batch_size=batch_size, **arguments)

    assert figures.keys() == {"rate", "cpu_s_per_1000"}
    assert min(figures.values()) > 0


def test_a_contender_with_other_batches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision, "STAGES", [*vision.STAGES, ("shift", _shift)])

    with pytest.raises(AssertionError, match="batch at 0: images are off by"):
        run.map_in_threads(images=2, batch_size=1, way="vision", threads=1)


def _shift(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "img": sample["img"] + 1}


def test_stages_are_timed_under_the_reference_s_names() -> None:
    plain = run.time_stages(images=2, batch_size=1, way="openmmlab")

    assert list(plain) == ["decode", "resize", "flip", "normalize", "pad", "HWC→CHW", "collate"]
    assert run.time_stages(images=2, batch_size=1, way="ours_not_fused").keys() == plain.keys()
    assert "flip + normalize + pad + HWC→CHW" in run.time_stages(images=2, batch_size=1, way="ours")


def test_the_case_has_a_row_for_each_contender_and_a_table_of_stages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def call(target: str, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Any:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        module, _, function = target.partition(":")
        return getattr(importlib.import_module(module), function)(**{**arguments, "images": IMAGES})

    chosen = [contender for contender in pipeline.CONTENDERS if contender.function != "load_with_workers"]
    chosen.append(next(contender for contender in pipeline.CONTENDERS if contender.name == pipeline.WORKERS))
    monkeypatch.setattr(pipeline, "CONTENDERS", tuple(chosen))
    monkeypatch.setattr(pipeline, "call_in_fresh_process", call)
    monkeypatch.setattr(pipeline, "MEDIAN_S", 0.001)
    monkeypatch.setattr(pipeline, "P99_S", 0.002)
    report = pipeline.run(Settings(repeats=1, scale=0.001, results=tmp_path))
    rows = {row[0]: row for row in report.rows}
    (stages,) = report.parts
    times = {row[0]: row[1:] for row in stages.rows}

    assert list(rows) == [contender.name for contender in chosen]
    assert rows[pipeline.WORKERS][5] == rows[pipeline.PLAIN][6] == "1.00"
    assert float(rows[pipeline.OURS][7]) > 0
    assert [name for name, row in rows.items() if row[8]] == ["Loader from S3, 2 threads"]
    # What is run as one stands in a row of its own, and the others have their sum there.
    assert times["flip"][0] == ""
    assert float(times["flip + normalize + pad + HWC→CHW"][2]) == pytest.approx(
        sum(float(times[name][2]) for name in ("flip", "normalize", "pad", "HWC→CHW")), abs=0.02
    )
    assert all(float(cell) > 0 for cell in times["all"])
