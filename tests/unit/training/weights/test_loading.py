from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.training.weights import BACKBONE_PREFIXES, load_pretrained, read_state_dict


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


def test_what_is_missing_and_left_over_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {"0.weight": torch.zeros(3, 2), "1.weight": torch.zeros(9, 9), "fc": torch.zeros(1)}

    with caplog.at_level(logging.INFO, "asyncio_loader"):
        load_pretrained(module(), save(tmp_path, state))

    assert "missing: ['0.bias', '1.bias', '1.weight']" in caplog.text
    assert "unexpected: ['1.weight', 'fc']" in caplog.text


def test_mmengines_checkpoints_are_read(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0], [1])

    state = read_state_dict(save(tmp_path, {"state_dict": {"a": torch.ones(1)}, "message_hub": {"loss": history}}))

    assert list(state) == ["a"]


def test_weights_are_loaded_from_s3(tmp_path: Path, moto_environ: MotoServer) -> None:
    source, target = module(), module()
    uri = "s3://pretrained-weights/resnet.pth"
    _create_bucket(uri)
    FileClient.infer_client(uri=uri).put(Path(save(tmp_path, source.state_dict())).read_bytes(), uri)

    load_pretrained(target, uri)

    torch.testing.assert_close(target.state_dict(), source.state_dict())


def _create_bucket(uri: str) -> None:
    from asyncio_loader.bridge.loop_thread import LoopThread
    from asyncio_loader.stores.s3.store import S3Store

    thread, store = LoopThread(), S3Store()
    try:
        thread.run(store.create_bucket(uri))
    finally:
        thread.close(store.aclose)


def test_a_download_is_refused_with_advice() -> None:
    assert "init_cfg=None" in refusal("torchvision://resnet50")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none.pth")).endswith(": no such file")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.pth").write_bytes(b"not weights")

    assert refusal(str(tmp_path / "junk.pth")).endswith(" is not a checkpoint")


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    assert "trusted_checkpoints" in refusal(save(tmp_path, {"a": Path("/")}))


def test_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    assert "holds no dict of tensors" in refusal(save(tmp_path, {"a": 1}))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    assert "none of its 1 tensors fits the model" in refusal(save(tmp_path, {"conv": torch.zeros(1)}))
