from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.weights.location import locate


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache of checkpoints, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    directory = tmp_path / "hub/checkpoints"
    directory.mkdir(parents=True)
    return directory


@pytest.mark.parametrize("checkpoint", ["a.pth", "/data/a.pth", "s3://bucket/a.pth", "file:///data/a.pth"])
def test_what_can_be_opened_stays(checkpoint: str) -> None:
    assert locate(checkpoint) == checkpoint


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("torchvision://resnet50", "resnet50-0676ba61.pth"),
        ("torchvision://resnet50.imagenet1k_v2", "resnet50-11ad3fa6.pth"),
        ("https://download.openmmlab.com/a/faster_rcnn.pth?x=1", "faster_rcnn.pth"),
    ],
)
def test_what_has_been_downloaded_before_is_found(checkpoint: str, name: str, cache: Path) -> None:
    (cache / name).touch()

    assert locate(checkpoint) == str(cache / name)


@pytest.mark.parametrize(
    "checkpoint",
    ["torchvision://resnet50", "torchvision://resnet50.imagenet1k_v9", "torchvision://resnet5", "open-mmlab://a/b"],
)
def test_what_would_have_to_be_downloaded_is_refused_with_advice(checkpoint: str, cache: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(checkpoint, path="load_from")

    assert str(caught.value).startswith(f"load_from={checkpoint!r} would have to be downloaded: put the file into your")
