from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.rpn import concat_box_prediction_layers

from asyncio_loader.training.model import FasterRCNN, build_model
from asyncio_loader.training.rpn import StridedAnchors
from asyncio_loader.training.weights import to_mmdet, to_torchvision
from asyncio_loader.training.weights.dialects import translate
from tests.unit.training.weights import mmdet_model
from tests.unit.training.weights.conftest import real_shapes, real_state

SMALL = {"depth": 18, "channels": 16, "width": 32, "classes": 3}


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}


def build(config: dict[str, Any], **options: Any) -> FasterRCNN:
    model = copy.deepcopy(config)
    model["backbone"] |= {"init_cfg": None} | options
    depth = model["backbone"]["depth"]
    model["neck"]["in_channels"] = [(64 if depth < 50 else 256) * 2**stage for stage in range(4)]
    return build_model(model).eval()


@pytest.fixture(scope="module")
def loaded(small_model: dict[str, Any]) -> tuple[FasterRCNN, dict[str, Tensor]]:
    """Our small detector with weights of mmdet's, and these."""
    state = mmdet_model.mmdet_state(**SMALL)
    model = build(small_model)
    model.load_state_dict(to_torchvision(state))
    return model, state


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not first[name].equal(second[name])] == []


@pytest.mark.parametrize(
    ("name", "is_before_2"), [("mmdet_2_3_faster_rcnn_r50_fpn", False), ("mmdet_1_faster_rcnn_r50_fpn", True)]
)
def test_the_key_lists_are_those_of_the_reference(name: str, is_before_2: bool) -> None:
    assert real_shapes(name) == mmdet_model.mmdet_shapes(is_before_2=is_before_2)


@pytest.mark.parametrize("name", ["mmdet_2_3_faster_rcnn_r50_fpn", "mmdet_1_faster_rcnn_r50_fpn"])
def test_a_published_detector_of_mmdet_fits_to_the_last_tensor(name: str, base_model: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = build(base_model)

    assert shapes_of(to_torchvision(real_state(name))) == shapes_of(model.state_dict())


@pytest.mark.parametrize("depth", [18, 34, 101, 152])
def test_detectors_of_every_depth_fit(depth: int, base_model: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = build(base_model, depth=depth)
        state = {name: torch.empty(shape) for name, shape in mmdet_model.mmdet_shapes(depth).items()}

    assert shapes_of(to_torchvision(state)) == shapes_of(model.state_dict())


def test_group_norm_has_a_name_of_its_own_there(base_model: dict[str, Any]) -> None:
    norm = {"type": "GN", "num_groups": 32, "requires_grad": True}
    with torch.device("meta"):
        model = build(base_model, norm_cfg=norm)
        state = {name: torch.empty(shape) for name, shape in mmdet_model.mmdet_shapes(norm="gn").items()}

    assert shapes_of(to_torchvision(state)) == shapes_of(model.state_dict())
    assert list(to_mmdet(to_torchvision(state))) == list(state)


def test_torchvisions_published_detector_fits_but_for_its_classes(base_model: dict[str, Any]) -> None:
    with torch.device("meta"):
        own = shapes_of(build(base_model).state_dict())

    theirs = shapes_of(to_torchvision(real_state("torchvision_fasterrcnn_resnet50_fpn")))

    assert theirs.keys() == own.keys()
    assert {name.rpartition(".")[0] for name in own if own[name] != theirs[name]} == {
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    }


@pytest.mark.parametrize("name", ["torchvision_resnet50", "torchvision_fasterrcnn_resnet50_fpn_v2"])
def test_names_of_torchvision_today_stay(name: str) -> None:
    assert list(to_torchvision(real_state(name))) == list(real_shapes(name))


def test_a_classifier_of_mmpretrain_has_its_backbone_where_a_detector_has_it() -> None:
    names = to_torchvision(real_state("mmpretrain_resnet50"))

    assert {name.removeprefix("backbone.body.") for name in names if name.startswith("backbone.")} >= {
        name for name in real_shapes("torchvision_resnet50") if not name.startswith("fc.")
    }
    assert [name for name in names if not name.startswith("backbone.body.")] == ["head.fc.weight", "head.fc.bias"]


def test_the_pyramid_computes_what_mmdets_does(loaded: tuple[FasterRCNN, dict[str, Tensor]]) -> None:
    model, state = loaded
    maps = [torch.rand(2, 64 * 2**level, 32 >> level, 32 >> level) for level in range(4)]

    ours = model.backbone.fpn({str(level): x for level, x in enumerate(maps)})

    torch.testing.assert_close(list(ours.values()), mmdet_model.pyramid(state, maps))


def test_proposals_have_mmdets_scores_and_deltas(loaded: tuple[FasterRCNN, dict[str, Tensor]]) -> None:
    model, state = loaded
    feature = torch.rand(2, 16, 5, 7)

    logits, deltas = concat_box_prediction_layers(*model.rpn.head([feature]))

    scores, expected = mmdet_model.proposals(state, feature)
    torch.testing.assert_close(logits.reshape(2, -1).sigmoid(), scores)
    torch.testing.assert_close(deltas.reshape(2, -1, 4), expected)


def test_anchors_of_a_location_are_in_mmdets_order() -> None:
    scales, ratios = [4.0, 8.0], [0.5, 1.0, 2.0]
    ours = StridedAnchors((16,), tuple(scales), tuple(ratios))
    ours.set_cell_anchors(torch.float32, torch.device("cpu"))

    boxes = ours.grid_anchors([[3, 3]], [[torch.tensor(16), torch.tensor(16)]])[0]

    # torchvision rounds corners to whole pixels.
    torch.testing.assert_close(boxes, mmdet_model.anchors(16, scales, ratios, 3), atol=0.5, rtol=0)


@pytest.mark.parametrize("is_agnostic", [False, True])
def test_detections_have_mmdets_scores_and_deltas(is_agnostic: bool, small_model: dict[str, Any]) -> None:
    state = mmdet_model.mmdet_state(**SMALL, is_agnostic=is_agnostic)
    model = build(small_model)
    model.load_state_dict(to_torchvision(state))
    pooled = torch.rand(5, 16, 7, 7)

    logits, deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))

    scores, expected = mmdet_model.detections(state, pooled)
    torch.testing.assert_close(logits.softmax(dim=-1).roll(-1, dims=1), scores)
    torch.testing.assert_close(deltas.reshape(5, 4, 4)[:, 1:], expected)


@pytest.mark.parametrize("is_agnostic", [False, True])
def test_detectors_before_2_have_the_background_first_already(is_agnostic: bool) -> None:
    state = mmdet_model.mmdet_state(**SMALL, is_before_2=True, is_agnostic=is_agnostic)

    ours = to_torchvision(state)

    assert ours["roi_heads.box_predictor.cls_score.weight"].equal(state["bbox_head.fc_cls.weight"])
    assert ours["roi_heads.box_predictor.bbox_pred.weight"][-4:].equal(state["bbox_head.fc_reg.weight"][-4:])


def test_there_and_back_is_the_same_bit_for_bit() -> None:
    state = mmdet_model.mmdet_state(**SMALL)

    assert_same(to_mmdet(to_torchvision(state)), state)


def test_back_and_there_loses_only_the_boxes_of_the_background(small_model: dict[str, Any]) -> None:
    state = build(small_model).state_dict()
    expected = dict(state)
    for kind in ("weight", "bias"):
        name = f"roi_heads.box_predictor.bbox_pred.{kind}"
        expected[name] = state[name].clone()
        expected[name][:4] = 0

    assert_same(to_torchvision(to_mmdet(state)), expected)


def test_several_convolutions_of_the_proposals_are_numbered() -> None:
    state = {
        f"rpn_head.rpn_conv.{n}.conv.{kind}": torch.full((2,), float(n))
        for n in range(2)
        for kind in ("weight", "bias")
    }

    ours = to_torchvision(state)

    assert list(ours) == [f"rpn.head.conv.{n}.0.{kind}" for n in range(2) for kind in ("weight", "bias")]
    assert_same(to_mmdet(ours), state)


def test_the_wrapper_of_distributed_training_is_taken_off() -> None:
    state = {f"module.{name}": value for name, value in mmdet_model.mmdet_state(**SMALL).items()}

    assert_same(to_mmdet(state), {name.removeprefix("module."): value for name, value in state.items()})


def test_averages_that_a_hook_keeps_beside_the_parameters_are_left_out() -> None:
    state = {"backbone.conv1.weight": torch.ones(1), "ema_backbone_conv1_weight": torch.zeros(1)}

    assert list(to_torchvision(state)) == ["backbone.body.conv1.weight"]


def test_a_parameter_that_only_begins_like_an_average_stays() -> None:
    assert list(to_torchvision({"ema_rate": torch.ones(1)})) == ["ema_rate"]


def test_names_and_shapes_of_the_file_are_remembered() -> None:
    weights = translate(real_state("mmdet_2_3_faster_rcnn_r50_fpn"))

    boxes = weights["roi_heads.box_predictor.bbox_pred.weight"]
    assert (boxes.source, boxes.shape) == ("roi_head.bbox_head.fc_reg.weight", (320, 1024))
    assert boxes.value.shape == (324, 1024)


def test_heads_of_another_architecture_stay_as_they_are() -> None:
    state = {"roi_head.bbox_head.0.fc_cls.weight": torch.zeros(4, 2), "bbox_head.retina_cls.weight": torch.zeros(1)}

    assert_same(to_torchvision(state), state)
