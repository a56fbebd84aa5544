from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from asyncio_loader.coco.index import CocoIndex
from asyncio_loader.training.evaluation import CocoMetric

DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 30, "file_name": "a.jpg", "width": 100, "height": 100},
        {"id": 10, "file_name": "b.jpg", "width": 100, "height": 100},
    ],
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    # Id 0 is what pycocotools takes for "no match".
    "annotations": [
        {"id": 0, "image_id": 30, "category_id": 3, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 1, "image_id": 10, "category_id": 7, "bbox": [20, 30, 50, 60], "area": 3000, "iscrowd": 0},
    ],
}


def metric(document: dict[str, Any] = DOCUMENT) -> CocoMetric:
    data = json.dumps(document).encode()
    index = CocoIndex.parse(data, source="val.json", classes=("cat", "dog"), test_mode=True)
    return CocoMetric(index, lambda: data)


def found(box: list[float], label: int, score: float = 0.9) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor([box]), "scores": torch.tensor([score]), "labels": torch.tensor([label])}


NOTHING = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
PERFECT = [found([10, 10, 50, 50], 1), found([20, 30, 70, 90], 0)]


def evaluate(values: CocoMetric, predictions: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    values.process(None, predictions)
    numbers: dict[str, float] = values.evaluate(size=2)
    return numbers


def test_true_boxes_score_one() -> None:
    numbers = evaluate(metric(), PERFECT)

    assert numbers["bbox_mAP"] == pytest.approx(1.0)
    assert numbers["bbox_mAP_s"] == -1.0
    assert list(numbers) == ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l"]


def test_labels_count_in_the_order_of_the_file() -> None:
    assert evaluate(metric(), [found([10, 10, 50, 50], 0), found([20, 30, 70, 90], 1)])["bbox_mAP"] == 0.0


def test_predictions_belong_to_images_by_their_order() -> None:
    assert evaluate(metric(), PERFECT[::-1])["bbox_mAP"] == 0.0


def test_loose_boxes_count_at_the_lower_threshold_only() -> None:
    numbers = evaluate(metric(), [found([10, 10, 50, 40], 1), found([20, 30, 70, 75], 0)])

    assert numbers["bbox_mAP_50"] == pytest.approx(1.0)
    assert 0.0 < numbers["bbox_mAP"] < 0.8


def test_no_prediction_at_all_is_zero() -> None:
    assert evaluate(metric(), [NOTHING, NOTHING])["bbox_mAP_50"] == 0.0


def test_annotations_may_lack_what_pycocotools_insists_on() -> None:
    bare = [{k: v for k, v in a.items() if k not in ("iscrowd",)} for a in DOCUMENT["annotations"]]

    assert evaluate(metric({**DOCUMENT, "annotations": bare}), PERFECT)["bbox_mAP"] == pytest.approx(1.0)


def test_the_last_predictions_are_kept_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    values = metric()
    evaluate(values, [NOTHING, NOTHING])
    numbers = evaluate(values, PERFECT)

    assert len(values.detections) == 2
    assert values.metrics == numbers
    assert capsys.readouterr().out == ""
