from __future__ import annotations

import pytest

from asyncio_loader.cli import main


@pytest.mark.parametrize("command", ["train", "show"])
def test_list_names_the_ready_configs_and_the_parts_of_others(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--list"])

    configs, parts = capsys.readouterr().out.split("Parts for the _base_ of a config:\n")
    assert ended.value.code == 0
    assert "  faster_rcnn_r50_fpn_1x_coco_s3\n" in configs
    assert "  schedule_1x\n" in parts
    assert "schedule_1x" not in configs
