"""What mmdet 3.3.0 with mmcv-lite 2.1.0 makes of the same files, value by value.

As with the cases of 2.x, a part of them lies in ``tests/data/oracle`` and always runs; all of them are looked for in
``../shared`` or in ``$ASYNCIO_LOADER_SHARED``. The cases of kind ``sampler`` are in ``test_cases_3x_samplers.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncio_loader.coco import CocoIndex
from asyncio_loader.datasets.collate_packed import collate_packed
from asyncio_loader.errors import LoaderError
from asyncio_loader.training.preprocess import build_preprocessor
from asyncio_loader.training.sections import Section
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.base import FUSE
from tests.oracle.comparing import check

# pycocotools 2.0.11 has not followed numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "data"
SHARED = Path(os.environ.get("ASYNCIO_LOADER_SHARED", REPOSITORY.parent / "shared"))

TOLERANCES = {"resize/float_image": 1e-3, "resize/bicubic/400x300": 1, "resize/bicubic/100x80": 1}
"""These depend on how OpenCV was built (IPP); all others are equal to the last bit."""


def revive(entry: dict[str, Any]) -> Any:
    return tuple(entry["items"]) if entry.get("__type__") == "tuple" else entry


def load(root: Path) -> list[Any]:
    path = root / "oracle" / "cases-3x.json"
    if not path.exists():
        return [pytest.param(root, {}, id="shared", marks=pytest.mark.skip(reason=f"no reference cases in {root}"))]
    cases = json.loads(path.read_bytes(), object_hook=revive)["cases"]
    cases = [case for case in cases if case["kind"] != "sampler"]
    return [pytest.param(root, case, id=f"{root.name}:{case['name']}") for case in cases]


def prefix_of(case: dict[str, Any]) -> str:
    return os.path.join(case["dataset"].get("data_root", ""), case["dataset"]["data_prefix"]["img"])


@pytest.fixture
def index_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, dict[str, Any]], CocoIndex]:
    def parse(root: Path, case: dict[str, Any]) -> CocoIndex:
        # The names in the results are relative, as they were where the reference ran.
        monkeypatch.chdir(root)
        dataset = case["dataset"]
        path = os.path.join(dataset.get("data_root", ""), dataset["ann_file"])
        return CocoIndex.parse(
            Path(path).read_bytes(),
            source=path,
            classes=dataset["metainfo"]["classes"] if "metainfo" in dataset else None,
            test_mode=dataset.get("test_mode", False),
            **{"filter_empty_gt": False, "min_size": 0, **dataset.get("filter_cfg", {})},
        )

    return parse


def run(index: CocoIndex, pipeline: Compose, case: dict[str, Any], position: int) -> Any:
    results = index.results_3x(position, img_prefix=prefix_of(case))
    image = Path(results["img_path"])
    if image.exists():
        # As the loader does; a missing file is left for the pipeline to find out.
        results["img_bytes"] = image.read_bytes()
    return pipeline(results)


def run_dataset(index: CocoIndex, case: dict[str, Any]) -> None:
    want = case["expected"]
    assert want["length"] == len(index)
    assert want["image_ids"] == list(index.image_ids)
    assert want["file_names"] == list(index.file_names)
    assert want["cat_ids"] == index.cat_ids
    assert [tuple(pair) for pair in want["cat2label"]] == list(index.cat2label.items())
    samples = [index.results_3x(i, img_prefix=prefix_of(case)) for i in range(len(index))]
    everything = [instance for sample in samples for instance in sample["instances"]]
    ignored = sum(instance["ignore_flag"] for instance in everything)
    assert want["totals"] == {"boxes": len(everything), "ignored": ignored}
    assert want["annotations_sha256"] == digest_of(samples)
    for position, wanted in want["annotations"].items():
        sample = samples[int(position)]
        assert set(wanted) == set(sample)
        assert {**wanted, "instances": None} == {**sample, "instances": None}
        described = [describe_instance(instance) for instance in sample["instances"]]
        assert wanted["instances"] == described, f"annotations[{position}]"


def digest_of(samples: list[dict[str, Any]]) -> str:
    kinds = (("bbox", np.float32), ("bbox_label", np.int64), ("ignore_flag", np.uint8))
    digest = hashlib.sha256()
    for sample in samples:
        for key, dtype in kinds:
            digest.update(np.array([each[key] for each in sample["instances"]], dtype=dtype).tobytes())
    return digest.hexdigest()


def describe_instance(instance: dict[str, Any]) -> dict[str, Any]:
    described = {key: value for key, value in instance.items() if key != "mask"}
    return {**described, "segmentation": describe_segmentation(instance.get("mask"))}


def describe_segmentation(segmentation: Any) -> str:
    if not segmentation:
        return "none"
    if isinstance(segmentation, list):
        return f"polygons:{len(segmentation)}"
    return "rle" if isinstance(segmentation["counts"], list) else "compressed_rle"


def run_item(index: CocoIndex, case: dict[str, Any]) -> None:
    result = run(index, Compose(case["pipeline"]), case, case["index"])
    assert result is not None
    result = {key: value for key, value in result.items() if key != "instances"}
    assert case["expected"]["keys"] == list(result)
    check(result, case["expected"]["result"], TOLERANCES.get(case["name"], 0), "result")


def run_collate(index: CocoIndex, case: dict[str, Any]) -> None:
    pipeline = Compose(case["pipeline"])
    batch = collate_packed([run(index, pipeline, case, i) for i in case["indices"]])
    assert case["expected"]["keys"] == list(batch)
    check(batch, case["expected"]["result"], 0, "batch")


def run_preprocess(index: CocoIndex, case: dict[str, Any]) -> None:
    pipeline = Compose(case["pipeline"])
    images = [run(index, pipeline, case, i)["inputs"] for i in case["indices"]]
    preprocessor = build_preprocessor(Section(case["preprocessor"], "data_preprocessor"))
    check(preprocessor.stack(images), case["expected"]["inputs"], 0, "inputs")


RUNS = {"dataset": run_dataset, "item": run_item, "collate": run_collate, "preprocess": run_preprocess}


@pytest.mark.parametrize("fuse", ["1", "0"], ids=["fused", "plain"])
@pytest.mark.parametrize(("root", "case"), [*load(GOLDEN), *load(SHARED)])
def test_like_the_reference(
    root: Path, case: dict[str, Any], fuse: str, index_of: Callable[..., CocoIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FUSE, fuse)
    if case["kind"] != "error":
        index = index_of(root, case)
        RUNS[case["kind"]](index, case)
        return
    with pytest.raises(LoaderError) as caught:
        run_to_failure(root, case, index_of)
    kept = {"FileNotFoundError": FileNotFoundError, "KeyError": KeyError}.get(case["expected"]["error"], LoaderError)
    assert isinstance(caught.value, kept)
    assert "\n" not in str(caught.value)


def run_to_failure(root: Path, case: dict[str, Any], index_of: Callable[..., CocoIndex]) -> None:
    """Go as far as the stage where the reference fails: we may fail earlier, but not later."""
    until = ("dataset", "pipeline", "item").index(case["expected"]["stage"])
    index = index_of(root, case)
    if until >= 1:
        pipeline = Compose(case["pipeline"])
    if until == 2:
        run(index, pipeline, case, case["index"])
