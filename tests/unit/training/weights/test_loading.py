from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.training.model import FasterRCNN, build_model
from asyncio_loader.training.weights import BACKBONE_PREFIXES, load_pretrained, to_torchvision
from tests.unit.training.weights.conftest import create_bucket
from tests.unit.training.weights.mmdet_model import mmdet_state


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def save(directory: Path, values: object) -> str:
    path = directory / "weights.pth"
    torch.save(values, path)
    return str(path)


def refusal(checkpoint: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_pretrained(module(), checkpoint, path="model.backbone.init_cfg.checkpoint")
    message = str(caught.value)
    assert message.startswith(f"model.backbone.init_cfg.checkpoint={checkpoint!r}")
    assert "\n" not in message
    return message


def test_weights_are_loaded_from_a_local_file(tmp_path: Path) -> None:
    source, target = module(), module()

    load_pretrained(target, save(tmp_path, source.state_dict()))

    torch.testing.assert_close(target.state_dict(), source.state_dict())


def test_a_checkpoint_of_a_whole_detector_gives_its_backbone(tmp_path: Path) -> None:
    source, target = module(), module()
    state = {f"backbone.{name}": value for name, value in source.state_dict().items()} | {"head.0": torch.zeros(1)}

    load_pretrained(target, save(tmp_path, {"state_dict": state, "meta": {}}), prefixes=BACKBONE_PREFIXES)

    torch.testing.assert_close(target.state_dict(), source.state_dict())


def report(caplog: pytest.LogCaptureFixture, target: nn.Module, checkpoint: str, **options: Any) -> logging.LogRecord:
    """The one record about a checkpoint."""
    with caplog.at_level(logging.INFO, "asyncio_loader"):
        load_pretrained(target, checkpoint, **options)
    (record,) = caplog.records
    return record


def test_what_does_not_fit_is_listed_in_one_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {"0.weight": torch.zeros(3, 2), "1.weight": torch.zeros(9, 9), "fc": torch.zeros(1)}

    record = report(caplog, module(), save(tmp_path, state))

    assert record.levelno == logging.WARNING
    assert record.getMessage().splitlines() == [
        f"{tmp_path / 'weights.pth'}: 1 of the model's 4 tensors loaded",
        "size mismatch: 1.weight is (1, 3) in the model, (9, 9) in the file",
        "unexpected keys: fc",
        "missing keys: 0.bias, 1.bias",
    ]


def test_nothing_is_wrong_with_weights_that_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = report(caplog, module(), save(tmp_path, module().state_dict()))

    assert record.levelno == logging.INFO
    assert record.getMessage().endswith("weights.pth: 4 of the model's 4 tensors loaded")


def test_counters_of_norms_are_neither_missing_nor_left_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    norm = nn.BatchNorm2d(2)
    state = {name: value for name, value in norm.state_dict().items() if value.dim()} | {
        "other.num_batches_tracked": torch.tensor(1)
    }

    record = report(caplog, norm, save(tmp_path, state))

    assert record.getMessage().endswith(": 4 of the model's 4 tensors loaded")


@pytest.fixture
def small_detector(small_model: dict[str, Any]) -> FasterRCNN:
    return build_model(copy.deepcopy(small_model))


def test_heads_for_other_classes_stay_as_they_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, small_detector: FasterRCNN
) -> None:
    state = mmdet_state(depth=18, channels=16, width=32, classes=80)
    before = {name: value.clone() for name, value in small_detector.roi_heads.box_predictor.state_dict().items()}

    record = report(caplog, small_detector, save(tmp_path, {"state_dict": state, "meta": {}}))

    torch.testing.assert_close(dict(small_detector.roi_heads.box_predictor.state_dict()), before)
    assert record.getMessage().splitlines()[1:] == [
        f"size mismatch: roi_heads.box_predictor.{ours} is {small} in the model, {shape} in the file "
        f"(roi_head.bbox_head.{theirs})"
        for ours, theirs, small, shape in [
            ("cls_score.weight", "fc_cls.weight", (4, 32), (81, 32)),
            ("cls_score.bias", "fc_cls.bias", (4,), (81,)),
            ("bbox_pred.weight", "fc_reg.weight", (16, 32), (320, 32)),
            ("bbox_pred.bias", "fc_reg.bias", (16,), (320,)),
        ]
    ]


def test_a_detector_of_mmdets_is_loaded(tmp_path: Path, small_detector: FasterRCNN) -> None:
    state = mmdet_state(depth=18, channels=16, width=32, classes=3)

    load_pretrained(small_detector, save(tmp_path, {"state_dict": state, "meta": {"mmdet_version": "2.28.2"}}))

    torch.testing.assert_close(dict(small_detector.state_dict()), to_torchvision(state))


def test_what_a_file_of_an_architecture_it_does_not_know_has_is_left_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, small_detector: FasterRCNN
) -> None:
    state = mmdet_state(depth=18, channels=16, width=32, classes=3)
    state |= {f"mask_{name}": torch.zeros(1) for name in ("head.weight",)}

    record = report(caplog, small_detector, save(tmp_path, state))

    assert record.getMessage().splitlines()[1:] == ["unexpected keys: mask_head.weight"]


def build_with(small_model: dict[str, Any], **init: Any) -> FasterRCNN:
    model = copy.deepcopy(small_model)
    model["backbone"]["init_cfg"] = {"type": "Pretrained", **init}
    return build_model(model)


@pytest.mark.parametrize("prefix", [None, "backbone", "backbone."])
def test_a_backbone_takes_that_of_a_detector_of_mmdets(
    prefix: str | None, tmp_path: Path, small_model: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    state = mmdet_state(depth=18)
    init = {"checkpoint": save(tmp_path, {"state_dict": state})} | ({"prefix": prefix} if prefix else {})

    with caplog.at_level(logging.INFO, "asyncio_loader"):
        model = build_with(small_model, **init)

    assert caplog.messages == [f"{init['checkpoint']}: 100 of the model's 100 tensors loaded"]
    assert model.backbone.body["layer4"][1].conv2.weight.equal(state["backbone.layer4.1.conv2.weight"])


def test_a_prefix_that_does_not_occur_is_refused(tmp_path: Path, small_model: dict[str, Any]) -> None:
    state = {"conv1.weight": torch.zeros(64, 3, 7, 7)}

    with pytest.raises(ConfigError, match=r"has no tensor under the prefix 'encoder\.', only such as 'conv1\.weight'$"):
        build_with(small_model, checkpoint=save(tmp_path, state), prefix="encoder")


def test_the_classifier_of_a_backbone_is_left_over(
    tmp_path: Path, small_model: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()

    with caplog.at_level(logging.INFO, "asyncio_loader"):
        build_with(small_model, checkpoint=save(tmp_path, state))

    assert caplog.messages[0].splitlines()[1:] == ["unexpected keys: fc.weight, fc.bias"]


def test_a_backbone_that_is_not_trusted_names_the_key_of_the_config(
    tmp_path: Path, small_model: dict[str, Any]
) -> None:
    checkpoint = save(tmp_path, {"state_dict": mmdet_state(depth=18), "meta": {"work_dir": tmp_path}})

    with pytest.raises(ConfigError, match=r"^model\.backbone\.init_cfg\.checkpoint='.*trusted_checkpoints"):
        build_with(small_model, checkpoint=checkpoint)


def test_a_backbone_that_is_trusted_is_loaded(tmp_path: Path, small_model: dict[str, Any]) -> None:
    state = mmdet_state(depth=18)
    model = copy.deepcopy(small_model)
    checkpoint = save(tmp_path, {"state_dict": state, "meta": {"work_dir": tmp_path}})
    model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": checkpoint}

    detector = build_model(model, trusted=[str(tmp_path)])

    assert detector.backbone.body["conv1"].weight.equal(state["backbone.conv1.weight"])


def test_weights_are_loaded_from_s3(tmp_path: Path, moto_environ: MotoServer) -> None:
    source, target = module(), module()
    uri = "s3://pretrained-weights/resnet.pth"
    create_bucket(uri)
    FileClient.infer_client(uri=uri).put(Path(save(tmp_path, source.state_dict())).read_bytes(), uri)

    load_pretrained(target, uri)

    torch.testing.assert_close(target.state_dict(), source.state_dict())


def test_a_download_is_refused_with_advice() -> None:
    assert "init_cfg=None" in refusal("torchvision://resnet50")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    message = refusal(save(tmp_path, {"conv": torch.zeros(1)}))

    assert message.endswith(": none of its 1 tensors fits the model; it has 'conv', the model has '0.weight'")
