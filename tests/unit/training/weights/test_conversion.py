from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.training.weights import convert_checkpoint, read_checkpoint, to_torchvision
from tests.unit.training.weights.conftest import create_bucket
from tests.unit.training.weights.mmdet_model import mmdet_state


@pytest.fixture
def detector(tmp_path: Path) -> str:
    """A checkpoint of mmdet's."""
    path = str(tmp_path / "mmdet.pth")
    state = mmdet_state(depth=18, channels=16, width=32, classes=3)
    torch.save({"meta": {"epoch": 3}, "state_dict": state, "optimizer": {}}, path)
    return path


def test_torchvision_gets_a_plain_state_dict(detector: str, tmp_path: Path) -> None:
    count = convert_checkpoint(detector, str(tmp_path / "ours.pth"), to="torchvision")

    ours = read_checkpoint(str(tmp_path / "ours.pth"))
    expected = to_torchvision(read_checkpoint(detector)["state_dict"])
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    assert count == len(expected)


def test_mmdet_gets_a_checkpoint_and_back_it_is_the_same(detector: str, tmp_path: Path) -> None:
    ours, theirs = str(tmp_path / "ours.pth"), str(tmp_path / "theirs.pth")
    convert_checkpoint(detector, ours, to="torchvision")

    convert_checkpoint(ours, theirs, to="mmdet")

    back, source = read_checkpoint(theirs), read_checkpoint(detector)
    assert back.keys() == {"meta", "state_dict"}
    torch.testing.assert_close(back["state_dict"], source["state_dict"], rtol=0, atol=0)


def test_what_is_known_of_the_training_is_kept(detector: str, tmp_path: Path) -> None:
    target = str(tmp_path / "theirs.pth")

    convert_checkpoint(detector, target, to="mmdet")

    assert read_checkpoint(target)["meta"] == {"epoch": 3}


def test_both_ends_may_be_on_s3(detector: str, moto_environ: MotoServer) -> None:
    create_bucket("s3://converted/")

    convert_checkpoint(detector, "s3://converted/a.pth", to="torchvision")
    convert_checkpoint("s3://converted/a.pth", "s3://converted/b.pth", to="mmdet")

    assert (
        read_checkpoint("s3://converted/b.pth")["state_dict"].keys() == read_checkpoint(detector)["state_dict"].keys()
    )


def test_a_source_that_cannot_be_read_leaves_no_target(tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"<html>")

    with pytest.raises(ConfigError, match=r"^source='.*broken\.pth' is not a checkpoint"):
        convert_checkpoint(str(tmp_path / "broken.pth"), str(tmp_path / "new/a.pth"), to="mmdet")

    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "mmdet3"}, "to='mmdet3' must be 'mmdet' or 'torchvision'"),
        ({"to": "mmdet", "target": "a.pth"}, "target='a.pth' is the source"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        convert_checkpoint("a.pth", **{"target": "b.pth", **options})

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("https://example.com/a.pth", r"^target='https://example\.com/a\.pth': the web can only be read$"),
        ("gs://bucket/a.pth", r"^target='gs://bucket/a\.pth': .*there is no prefix 'gs'"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_the_source_is_read(target: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        convert_checkpoint("not-there.pth", target, to="mmdet")
