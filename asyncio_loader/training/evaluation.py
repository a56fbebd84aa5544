"""Mean average precision of boxes, by pycocotools, as a metric of mmengine."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from asyncio_loader.coco.index import CocoIndex
from asyncio_loader.errors import LoaderError
from asyncio_loader.records import Slot
from asyncio_loader.training.distributed import Ranks

__all__ = ["CocoMetric"]

_LOG = logging.getLogger(__name__)

# pycocotools' summary begins with these six ("Average Precision"; maxDets 100).
_NAMES = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l")


class CocoMetric(BaseMetric):  # type: ignore[misc]
    """``bbox_mAP`` and its parts, from 0 to 1; -1 where the set has no box of that size.

    Each rank predicts its share of the images, in the order of its slots. Rank 0 puts them in the order of the index,
    each image once, and judges them. An image that could not be read, in whose place another one stands that is marked
    as padding (``data.val.on_error`` is ``"skip"`` or ``"replace"``), is not judged; a warning says how many.

    Attributes:
        metrics: the numbers of the last evaluation, on every rank; empty before it.
        detections: on rank 0, per image of the index the last evaluation's predictions: ``boxes`` (N, 4) xyxy in pixels
            of the original image, ``scores`` (N,), ``labels`` (N,) from 0, on the CPU; none for one that was not read.
    """

    # mmengine warns where there is no prefix; an empty one leaves the names as the dialect has them.
    default_prefix = ""

    def __init__(
        self,
        index: CocoIndex,
        read_annotations: Callable[[], bytes],
        *,
        ranks: Ranks | None = None,
        slots: Callable[[], Iterable[Slot]] | None = None,
    ) -> None:
        """Describe the evaluation.

        Args:
            index: what is evaluated.
            read_annotations: gives the annotation file that the index was made from; called once per evaluation, on
                rank 0.
            ranks: who evaluates. None: this process alone.
            slots: gives the places of this rank's samples, one per prediction. None: all of the index, in its order.
        """
        super().__init__()
        self.metrics: dict[str, float] = {}
        self.detections: list[dict[str, Tensor]] = []
        self._index = index
        self._read_annotations = read_annotations
        self._ranks = ranks or Ranks()
        self._slots = slots or (lambda: (Slot(place, place) for place in range(len(index))))
        self._are_padding: list[bool] = []

    def process(
        self, data_batch: tuple[object, Sequence[Mapping[str, Any]]] | None, data_samples: list[dict[str, Tensor]]
    ) -> None:
        """Keep a batch of predictions.

        Args:
            data_batch: of `collate_detection`; None: nothing in it is padding.
            data_samples: a prediction for each.
        """
        self.results.extend({name: value.detach().cpu() for name, value in p.items()} for p in data_samples)
        targets = [{}] * len(data_samples) if data_batch is None else data_batch[1]
        self._are_padding.extend(bool(target.get("is_padding")) for target in targets)

    def evaluate(self, size: int) -> dict[str, float]:
        """Judge what was predicted since the last time. Collective; `size`, mmengine's count of images, is not needed.

        Raises:
            LoaderError: there is not exactly one prediction for each image; or as `compute_metrics`, on all ranks.
        """
        with self._ranks.agreed():
            share = _Share.of(list(self._slots()), self.results, self._are_padding)
        self.results.clear()
        self._are_padding.clear()
        # Not the images: some boxes per image, in a few arrays.
        shares = self._ranks.collect(share)
        self.metrics = self._ranks.from_main(lambda: self.compute_metrics(_merge(shares, len(self._index))))
        return dict(self.metrics)

    def compute_metrics(self, results: list[dict[str, Tensor] | None]) -> dict[str, float]:
        """The six numbers, of one prediction per image of the index; None for one that is not judged.

        pycocotools' own table goes to the log.

        Raises:
            FetchError: the annotation file could not be had.
        """
        self.detections = [_no_boxes() if prediction is None else prediction for prediction in results]
        judged = [place for place, prediction in enumerate(results) if prediction is not None]
        if len(judged) < len(results):
            _LOG.warning(
                "evaluation of %s: %d of %d images could not be read and are not judged",
                self._index.source,
                len(results) - len(judged),
                len(results),
            )
        rows = [row for place in judged for row in self._rows(place, self.detections[place])]
        if rows:
            # pycocotools prints its progress.
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                numbers = self._evaluate(rows, judged)
            _LOG.info("evaluation of %s:\n%s", self._index.source, printed.getvalue().rstrip())
        else:
            numbers = [0.0] * len(_NAMES)
            _LOG.warning("evaluation: not a single box was predicted on %d images", len(judged))
        return dict(zip(_NAMES, numbers, strict=False))

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

    def _evaluate(self, rows: list[dict[str, Any]], judged: Sequence[int]) -> list[float]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        truth = COCO()
        truth.dataset = _complete(json.loads(self._read_annotations()))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.params.imgIds = [self._index.image_id(place) for place in judged]
        evaluation.params.catIds = list(self._index.cat_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return [float(number) for number in evaluation.stats]


@dataclass(frozen=True, slots=True)
class _Share:
    """The predictions of one rank, without padding, in arrays: thousands of small tensors pickle slowly.

    Attributes:
        images: positions in the index, one per image.
        counts: boxes per image.
        found: ``boxes``, ``scores`` and ``labels``, those of one image after those of the other.
        unread: images that another one stands in for.
    """

    images: npt.NDArray[np.int64]
    counts: list[int]
    found: dict[str, npt.NDArray[Any]]
    unread: list[int]

    @classmethod
    def of(cls, slots: Sequence[Slot], predictions: Sequence[dict[str, Tensor]], are_padding: Sequence[bool]) -> _Share:
        if len(slots) != len(predictions):
            raise LoaderError(
                f"evaluation: {len(predictions)} predictions for {len(slots)} images: it needs one for each"
            )
        places = [each for each in zip(slots, predictions, are_padding, strict=True) if not each[0].is_padding]
        own = [(slot.index, prediction) for slot, prediction, is_padding in places if not is_padding]
        names = own[0][1] if own else ()
        return cls(
            np.array([image for image, _ in own], dtype=np.int64),
            [len(prediction["scores"]) for _, prediction in own],
            {name: torch.cat([prediction[name] for _, prediction in own]).numpy() for name in names},
            [slot.index for slot, _, is_padding in places if is_padding],
        )

    def split(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Image and prediction, one after the other."""
        parts = {name: torch.split(torch.from_numpy(values), self.counts) for name, values in self.found.items()}
        for place, image in enumerate(self.images.tolist()):
            yield image, {name: values[place] for name, values in parts.items()}


def _merge(shares: Sequence[_Share], count: int) -> list[dict[str, Tensor] | None]:
    """The predictions of all ranks in the order of the index, None for an image that was not read.

    That is each image once, or the plan is broken.
    """
    found = dict(part for share in shares for part in share.split())
    predictions: dict[int, dict[str, Tensor] | None] = {
        **found,
        **dict.fromkeys(image for share in shares for image in share.unread),
    }
    if predictions.keys() != set(range(count)):
        raise LoaderError(f"evaluation: predictions for {len(predictions)} of {count} images")
    return [predictions[image] for image in range(count)]


def _no_boxes() -> dict[str, Tensor]:
    return {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}


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
