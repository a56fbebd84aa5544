from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asyncio_loader.cli import main


def test_convert_writes_the_weights_as_mmdet_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "ours.pth", tmp_path / "theirs.pth"
    torch.save({"rpn.head.conv.0.0.weight": torch.ones(1)}, source)

    code = main(["convert", str(source), str(target), "--to", "mmdet"])

    assert (code, capsys.readouterr().out) == (0, f"{target}: 1 tensors\n")
    assert torch.load(target)["state_dict"].keys() == {"rpn_head.rpn_conv.weight"}


def test_convert_says_in_one_line_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "page.pth"
    source.write_text("<html>")

    assert main(["convert", str(source), str(tmp_path / "x.pth"), "--to", "mmdet"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"asyncio-loader: error: source='{source}' is not a checkpoint")
    assert errors.count("\n") == 1
