from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from asyncio_loader.coco.index import CocoIndex
from asyncio_loader.errors import FetchError, LoaderError
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Slot
from asyncio_loader.training.distributed import Ranks, teller_of
from asyncio_loader.training.evaluation import CocoMetric
from tests.unit.training.crew import Crew

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


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_must_be_one_prediction_for_each_image(count: int) -> None:
    with pytest.raises(LoaderError, match=f"^evaluation: {count} predictions for 2 images"):
        evaluate(metric(), (PERFECT * 2)[:count])


def test_an_image_that_could_not_be_read_is_not_judged(caplog: pytest.LogCaptureFixture) -> None:
    values = metric()
    # What stands in for the second image has boxes that are wrong on it.
    values.process((None, [{"is_padding": False}, {"is_padding": True}]), PERFECT[:1] * 2)
    numbers = values.evaluate(size=2)

    assert numbers["bbox_mAP"] == pytest.approx(1.0)
    assert [len(found["boxes"]) for found in values.detections] == [1, 0]
    assert "evaluation of val.json: 1 of 2 images could not be read and are not judged" in caplog.messages
    # The next evaluation begins anew.
    assert evaluate(values, PERFECT[:1] * 2)["bbox_mAP"] < 0.9


# On two ranks.

COUNT = 5


def many(images: int = COUNT) -> dict[str, Any]:
    """Images with a box each."""
    ids = [100 - n for n in range(images)]
    rows = [{"id": each, "file_name": f"{each}.jpg", "width": 100, "height": 100} for each in ids]
    boxes = [
        {"id": n + 1, "image_id": each, "category_id": (7, 3)[n % 2], "bbox": [10, 10, 30 + n, 40], "area": 1200}
        for n, each in enumerate(ids)
    ]
    return {**DOCUMENT, "images": rows, "annotations": boxes}


def predicted(image: int) -> dict[str, torch.Tensor]:
    """What a model that is not perfect finds on an image: the box and another, nothing, or the box."""
    boxes = [[10.0, 10.0, 40.0 + image, 50.0 - image], [50.0, 50.0, 60.0, 60.0]][: (image + 2) % 3]
    scores = [0.9 - image / 10, 0.1][: len(boxes)]
    labels = torch.full((len(boxes),), image % 2)
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "scores": torch.tensor(scores), "labels": labels}


@pytest.mark.parametrize("images", [1, 2, 4, COUNT])
def test_ranks_judge_as_one_alone_does(crew: Crew, images: int) -> None:
    alone = evaluate(metric(many(images)), [predicted(image) for image in range(images)])

    (numbers, count, padding), (others, none, others_padding) = crew.run(_judge, images)

    # Neither perfect nor void: an image too many or in another's place would show.
    assert 0.0 < alone["bbox_mAP"] < 1.0
    assert numbers == others == list(alone.values())
    assert (count, none) == (images, 0)
    assert padding + others_padding == images % 2


@pytest.mark.parametrize("unread", [0, 3])
def test_ranks_do_not_judge_what_one_of_them_could_not_read(crew: Crew, unread: int) -> None:
    alone = metric(many())
    predictions = [predicted(image) for image in range(COUNT)]
    alone.process((None, [{"is_padding": image == unread} for image in range(COUNT)]), predictions)
    numbers = list(alone.evaluate(size=COUNT).values())

    assert crew.run(_judge_without, unread) == [numbers, numbers]
    assert numbers != list(evaluate(metric(many()), predictions).values())


@pytest.mark.parametrize("losing", [0, 1])
def test_a_prediction_that_one_rank_lacks_is_said_on_all(crew: Crew, losing: int) -> None:
    (said, teller), others = crew.run(_lose_one, losing)

    assert said.startswith("evaluation: 2 predictions for 3 images")
    assert (said, teller) == others
    assert teller == losing


def test_an_image_that_no_rank_has_is_said_on_all(crew: Crew) -> None:
    assert crew.run(_share_badly) == [("evaluation: predictions for 3 of 5 images", 0)] * 2


def test_an_annotation_file_that_is_gone_is_said_on_all(crew: Crew) -> None:
    assert crew.run(_fail_to_read) == [("s3://b/val.json: gone", 0)] * 2


# What runs on the ranks.


def _slots(rank: int, world: int, images: int) -> list[Slot]:
    """A rank's share of an evaluation in batches of two."""
    return list(EpochPlan(order=range(images), batch_size=2, ranks=world).slots(Shard(rank)))


def _metric(ranks: Ranks, share: list[Slot], images: int) -> CocoMetric:
    data = json.dumps(many(images)).encode()
    index = CocoIndex.parse(data, source="val.json", classes=("cat", "dog"), test_mode=True)

    def read() -> bytes:
        assert ranks.is_main
        return data

    return CocoMetric(index, read, ranks=ranks, slots=lambda: share)


def _judge(ranks: Ranks, images: int) -> tuple[list[float], int, int]:
    """The numbers, the images that this rank has the predictions of, and its padding."""
    share = _slots(ranks.rank, ranks.world, images)
    values = _metric(ranks, share, images)
    # Padding is predicted, too; were it judged, these boxes would count.
    predictions = [found([0, 0, 99, 99], 0, score=1.0) if s.is_padding else predicted(s.index) for s in share]
    # Twice: nothing of the first evaluation is left in the second.
    for _ in range(2):
        values.process(None, predictions)
        numbers = values.evaluate(size=images)
    assert values.metrics == numbers
    return list(numbers.values()), len(values.detections), sum(s.is_padding for s in share)


def _judge_without(ranks: Ranks, unread: int) -> list[float]:
    share = _slots(ranks.rank, ranks.world, COUNT)
    values = _metric(ranks, share, COUNT)
    # What stands in for it has a box that would count.
    predictions = [found([0, 0, 99, 99], 0, score=1.0) if s.index == unread else predicted(s.index) for s in share]
    values.process((None, [{"is_padding": s.is_padding or s.index == unread} for s in share]), predictions)
    return list(values.evaluate(size=COUNT).values())


def _refused(values: CocoMetric, predictions: list[dict[str, torch.Tensor]]) -> tuple[str, int | None]:
    values.process(None, predictions)
    with pytest.raises(LoaderError) as caught:
        values.evaluate(size=COUNT)
    return str(caught.value), teller_of(caught.value)


def _lose_one(ranks: Ranks, losing: int) -> tuple[str, int | None]:
    share = _slots(ranks.rank, ranks.world, COUNT)
    return _refused(_metric(ranks, share, COUNT), [predicted(s.index) for s in share[ranks.rank == losing :]])


def _share_badly(ranks: Ranks) -> tuple[str, int | None]:
    share = _slots(0, ranks.world, COUNT)
    return _refused(_metric(ranks, share, COUNT), [predicted(s.index) for s in share])


def _fail_to_read(ranks: Ranks) -> tuple[str, int | None]:
    share = _slots(ranks.rank, ranks.world, COUNT)
    values = _metric(ranks, share, COUNT)

    def read() -> bytes:
        raise FetchError("s3://b/val.json: gone")

    values._read_annotations = read
    return _refused(values, [predicted(s.index) for s in share])
