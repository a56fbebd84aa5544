"""What mmdet 2.28.2 with mmcv 1.7.2 makes of the same files, value by value.

A small part of the reference cases lies in ``tests/data/oracle`` and always runs. The whole set is not part of the
repository: it is looked for in ``../shared`` or in ``$ASYNCIO_LOADER_SHARED``, and skipped where it is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.coco import CocoIndex
from asyncio_loader.datasets.collate import collate
from asyncio_loader.errors import LoaderError
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.base import FUSE
from tests.oracle.comparing import check

# pycocotools 2.0.11 has not followed numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "data"
SHARED = Path(os.environ.get("ASYNCIO_LOADER_SHARED", REPOSITORY.parent / "shared"))

LENIENT = {
    "error/resize/list_is_not_a_scale": "YAML and JSON have no tuples: [300, 200] is one scale",
    "error/flip/whole_number": "flip_ratio=1 can only mean 1.0",
}
"""Informative cases where we accept on purpose what the reference refuses."""

TOLERANCES = {"resize/float_image": 1e-3, "resize/bicubic/400x300": 1, "resize/bicubic/100x80": 1}
"""These depend on how OpenCV was built (IPP); all others are equal to the last bit."""


def revive(entry: dict[str, Any]) -> Any:
    return tuple(entry["items"]) if entry.get("__type__") == "tuple" else entry


def load(root: Path) -> list[Any]:
    path = root / "oracle" / "cases-2x.json"
    if not path.exists():
        return [pytest.param(root, {}, id="shared", marks=pytest.mark.skip(reason=f"no reference cases in {root}"))]
    cases = json.loads(path.read_bytes(), object_hook=revive)["cases"]
    return [pytest.param(root, case, id=f"{root.name}:{case['name']}") for case in cases if case["kind"] != "sampler"]


@pytest.fixture
def index_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, dict[str, Any]], CocoIndex]:
    def parse(root: Path, case: dict[str, Any]) -> CocoIndex:
        # The names in the results are relative, as they were where the reference ran.
        monkeypatch.chdir(root)
        arguments = {k: v for k, v in case["dataset"].items() if k not in ("type", "img_prefix", "data_root")}
        path = os.path.join(case["dataset"].get("data_root", ""), arguments.pop("ann_file"))
        return CocoIndex.parse(Path(path).read_bytes(), source=path, **arguments)

    return parse


def run(index: CocoIndex, pipeline: Compose, case: dict[str, Any], position: int) -> Any:
    prefix = os.path.join(case["dataset"].get("data_root", ""), case["dataset"]["img_prefix"])
    results = index.results(position, img_prefix=prefix)
    image = Path(prefix) / results["img_info"]["filename"]
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
    if "flag" in want:
        assert want["flag"] == index.flags.tolist()
    annotations = [index.ann_info(i) for i in range(len(index))]
    totals = {"boxes": sum(len(a["bboxes"]) for a in annotations)}
    totals["ignored"] = sum(len(a["bboxes_ignore"]) for a in annotations)
    assert want["totals"] == totals
    digest = hashlib.sha256()
    for annotation in annotations:
        for key in ("bboxes", "labels", "bboxes_ignore"):
            digest.update(annotation[key].tobytes())
    assert want["annotations_sha256"] == digest.hexdigest()
    for position, wanted in want["annotations"].items():
        annotation = annotations[int(position)]
        kinds = [describe_segmentation(segmentation) for segmentation in annotation.pop("masks")]
        assert wanted["segmentations"] == kinds
        wanted = {key: value for key, value in wanted.items() if key != "segmentations"}
        check(annotation, wanted, 0, f"annotations[{position}]")


def describe_segmentation(segmentation: Any) -> str:
    if not segmentation:
        return "none"
    if isinstance(segmentation, list):
        return f"polygons:{len(segmentation)}"
    return "rle" if isinstance(segmentation["counts"], list) else "compressed_rle"


def run_item(index: CocoIndex, case: dict[str, Any]) -> None:
    result = run(index, Compose(case["pipeline"]), case, case["index"])
    assert result is not None
    result = {key: value for key, value in result.items() if key not in ("img_info", "ann_info")}
    assert case["expected"]["keys"] == list(result)
    check(result, case["expected"]["result"], TOLERANCES.get(case["name"], 0), "result")


def run_collate(index: CocoIndex, case: dict[str, Any]) -> None:
    pipeline = Compose(case["pipeline"])
    batch = collate([run(index, pipeline, case, i) for i in case["indices"]], samples_per_gpu=case["samples_per_gpu"])
    assert case["expected"]["keys"] == list(batch)
    check(batch, case["expected"]["result"], 0, "batch")


@pytest.mark.parametrize("fuse", ["1", "0"], ids=["fused", "plain"])
@pytest.mark.parametrize(("root", "case"), [*load(GOLDEN), *load(SHARED)])
def test_like_the_reference(
    root: Path, case: dict[str, Any], fuse: str, index_of: Callable[..., CocoIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FUSE, fuse)
    if case["name"] in LENIENT:
        pytest.skip(LENIENT[case["name"]])
    if case["kind"] != "error":
        index = index_of(root, case)
        {"dataset": run_dataset, "item": run_item, "collate": run_collate}[case["kind"]](index, case)
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
