"""Mean average precision of boxes, by pycocotools, as a metric of mmengine."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable
from typing import Any

from mmengine.evaluator import BaseMetric
from torch import Tensor

from asyncio_loader.coco.index import CocoIndex

__all__ = ["CocoMetric"]

_LOG = logging.getLogger(__name__)

# pycocotools' summary begins with these six ("Average Precision"; maxDets 100).
_NAMES = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l")


class CocoMetric(BaseMetric):  # type: ignore[misc]
    """``bbox_mAP`` and its parts, from 0 to 1; -1 where the set has no box of that size.

    Predictions have to come in the order of the index, one per image: the k-th is about image k.

    Attributes:
        metrics: the numbers of the last evaluation; empty before it.
        detections: per image of the index the last evaluation's predictions: ``boxes`` (N, 4) xyxy in pixels of the
            original image, ``scores`` (N,), ``labels`` (N,) from 0, on the CPU.
    """

    # mmengine warns where there is no prefix; an empty one leaves the names as the dialect has them.
    default_prefix = ""

    def __init__(self, index: CocoIndex, read_annotations: Callable[[], bytes]) -> None:
        """`read_annotations` gives the annotation file that the index was made from; called once per evaluation."""
        super().__init__()
        self.metrics: dict[str, float] = {}
        self.detections: list[dict[str, Tensor]] = []
        self._index = index
        self._read_annotations = read_annotations

    def process(self, data_batch: object, data_samples: list[dict[str, Tensor]]) -> None:
        """Keep a batch of predictions."""
        self.results.extend({name: value.detach().cpu() for name, value in p.items()} for p in data_samples)

    def compute_metrics(self, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """The six numbers. pycocotools' own table goes to the log."""
        self.detections = list(results)
        rows = [row for place, prediction in enumerate(results) for row in self._rows(place, prediction)]
        if rows:
            # pycocotools prints its progress.
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                numbers = self._evaluate(rows)
            _LOG.info("evaluation of %s:\n%s", self._index.source, printed.getvalue().rstrip())
        else:
            numbers = [0.0] * len(_NAMES)
            _LOG.warning("evaluation: not a single box was predicted on %d images", len(results))
        self.metrics = dict(zip(_NAMES, numbers, strict=False))
        return dict(self.metrics)

    def _rows(self, place: int, prediction: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Predictions of one image in COCO's result format, boxes as x, y, width, height."""
        boxes = prediction["boxes"].clone()
        boxes[:, 2:] -= boxes[:, :2]
        found = zip(boxes.tolist(), prediction["scores"].tolist(), prediction["labels"].tolist(), strict=True)
        return [
            {
                "image_id": self._index.image_id(place),
                "category_id": self._index.category_id(label),
                "bbox": box,
                "score": score,
            }
            for box, score, label in found
        ]

    def _evaluate(self, rows: list[dict[str, Any]]) -> list[float]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        truth = COCO()
        truth.dataset = _complete(json.loads(self._read_annotations()))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.params.imgIds = list(self._index.image_ids)
        evaluation.params.catIds = list(self._index.cat_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return [float(number) for number in evaluation.stats]


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the fields that pycocotools insists on, which not every annotation tool writes."""
    document.setdefault("info", {})
    document.setdefault("annotations", [])
    for number, annotation in enumerate(document["annotations"], start=1):
        # pycocotools takes id 0 for "no match".
        annotation["id"] = number
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    return document
