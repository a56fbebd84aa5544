from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.errors import AccessDenied, ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.training.checkpoints import LAST_CHECKPOINT
from asyncio_loader.training.destinations import Destination
from asyncio_loader.training.out_dirs import OutDir
from asyncio_loader.training.resume import ResumableRunner, find_last_checkpoint, warn_of_earlier


@pytest.fixture
def place(tmp_path: Path) -> Destination:
    root = OutDir("checkpoint_config.out_dir", f"memory://resume-{tmp_path.name}", FileClient("memory"))
    return Destination.under(root, tmp_path / "run", UploadJournal(tmp_path / "j"))


def put(place: Destination, *names: str) -> None:
    for name in names:
        place.client.put(b"x", place.at(name))


def note(tmp_path: Path, uri: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LAST_CHECKPOINT).write_text(f"{uri}\n")


def test_it_is_what_the_work_directory_says(tmp_path: Path, place: Destination) -> None:
    put(place, "epoch_1.pth")
    note(tmp_path, "memory://elsewhere/run/epoch_2.pth")
    FileClient("memory").put(b"x", "memory://elsewhere/run/epoch_2.pth")
    put(place, "epoch_3.pth")

    found = find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth")

    assert found == "memory://elsewhere/run/epoch_2.pth"


@pytest.mark.parametrize("is_rescued", [False, True])
def test_where_another_machine_went_further_it_is_that_one(
    tmp_path: Path, place: Destination, caplog: pytest.LogCaptureFixture, is_rescued: bool
) -> None:
    noted = str(tmp_path / "run" / "epoch_3.pth") if is_rescued else place.at("epoch_3.pth")
    note(tmp_path, noted)
    FileClient.infer_client(uri=noted).put(b"x", noted)
    put(place, "epoch_10.pth")

    with caplog.at_level(logging.INFO):
        found = find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth")

    assert found == place.at("epoch_10.pth")
    assert f"names {noted}, but the run went further: {found}" in caplog.text


def test_where_nothing_may_be_listed_the_note_is_enough(
    tmp_path: Path, place: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, "epoch_1.pth", "epoch_2.pth")
    note(tmp_path, place.at("epoch_1.pth"))

    def refuse(self: Destination) -> list[str]:
        raise AccessDenied("no")

    monkeypatch.setattr(Destination, "names", refuse)

    assert find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth") == place.at("epoch_1.pth")


def test_a_new_run_among_checkpoints_of_another_is_warned_once(
    place: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    put(place, *(f"epoch_{step}.pth" for step in range(1, 13)))

    warn_of_earlier(place, "epoch_{}.pth")

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "12 checkpoints of an earlier run (epoch_1.pth, epoch_2.pth, epoch_3.pth, …, epoch_12.pth)" in record.message


def test_a_new_run_in_a_place_of_its_own_is_not_warned(place: Destination, caplog: pytest.LogCaptureFixture) -> None:
    put(place, "best_bbox_mAP_epoch_1.pth")

    warn_of_earlier(place, "epoch_{}.pth")

    assert caplog.records == []


def test_it_may_be_a_file_that_could_not_be_uploaded(tmp_path: Path, place: Destination) -> None:
    note(tmp_path, str(tmp_path / "run" / "epoch_3.pth"))
    (tmp_path / "run" / "epoch_3.pth").write_bytes(b"x")

    assert find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth") == str(tmp_path / "run" / "epoch_3.pth")


def test_on_another_machine_it_is_the_one_of_most_steps(tmp_path: Path, place: Destination) -> None:
    put(place, "epoch_2.pth", "epoch_10.pth", "epoch_9.pth", "best_bbox_mAP_epoch_11.pth", "iter_900.pth")

    assert find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth") == place.at("epoch_10.pth")


def test_one_that_is_gone_is_not_waited_for(
    tmp_path: Path, place: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    put(place, "epoch_2.pth")
    note(tmp_path, place.at("epoch_3.pth"))

    assert find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth") == place.at("epoch_2.pth")
    assert f"names {place.at('epoch_3.pth')}, which is not there" in caplog.text


def test_without_any_it_is_none(tmp_path: Path, place: Destination) -> None:
    assert find_last_checkpoint(tmp_path / "run", place, "epoch_{}.pth") is None


class Bare(ResumableRunner):
    """A Runner of nothing but a model."""

    def __init__(self, checkpoint: dict[str, Any]) -> None:
        self.model = torch.nn.Linear(2, 1)
        self.logger = logging.getLogger("bare")
        self.hooks_called: list[str] = []
        self.param_schedulers: list[Any] = []
        self._read = lambda uri: checkpoint
        self._resumed_by = "resume_from"

    def call_hook(self, name: str, **_: object) -> None:
        self.hooks_called.append(name)


def checkpoint(**changes: Any) -> dict[str, Any]:
    state = torch.nn.Linear(2, 1).state_dict()
    hub: dict[str, Any] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
    values = {"meta": {"epoch": 1, "iter": 2}, "state_dict": state, "message_hub": hub, "param_schedulers": []}
    return {**values, **changes}


def test_the_weights_are_loaded_and_hooks_are_told() -> None:
    state = {f"module.{name}": value for name, value in torch.nn.Linear(2, 1).state_dict().items()}
    runner = Bare(checkpoint(state_dict=state))

    runner.load_checkpoint("s3://b/k.pth")

    assert torch.equal(runner.model.weight, state["module.weight"])
    assert runner.hooks_called == ["after_load_checkpoint"]


def test_the_weights_of_a_model_that_is_wrapped_are_loaded() -> None:
    runner = Bare(checkpoint())
    runner.model = torch.nn.DataParallel(runner.model)

    values = runner.load_checkpoint("s3://b/k.pth")

    assert torch.equal(runner.model.module.weight, values["state_dict"]["weight"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"message_hub": None, "state_dict": None}, "can go on from (state_dict, message_hub missing or damaged): "),
        ({"meta": {}}, "can go on from (meta missing or damaged): to start from its weights say load_from"),
        ({"meta": 3}, "(meta missing or damaged)"),
        ({"meta": {"epoch": "1", "iter": 2}}, "(meta missing or damaged)"),
        ({"state_dict": 5}, "(state_dict missing or damaged)"),
        ({"state_dict": {1: torch.zeros(1)}}, "(state_dict missing or damaged)"),
        ({"message_hub": {"log_scalars": {}}}, "(message_hub missing or damaged)"),
        ({"optimizer": []}, "(optimizer missing or damaged)"),
        ({"data": {"consumed": 3}}, "(data missing or damaged)"),
        ({"data": {"epoch": "1", "consumed": 3}}, "(data missing or damaged)"),
        ({"param_schedulers": None}, "is the best checkpoint of a run, or another one of weights alone: "),
        ({"param_schedulers": [{}]}, "its param_schedulers are not those of the config's lr_config or param_scheduler"),
        (
            {"param_schedulers": {"a": 1}},
            "its param_schedulers are not those of the config's lr_config or param_scheduler",
        ),
        ({"state_dict": {"other": torch.zeros(1)}}, "its weights are not those of the config's model: "),
    ],
)
def test_what_a_run_cannot_go_on_from_is_said_in_one_line(changes: dict[str, Any], said: str) -> None:
    values = {key: value for key, value in checkpoint(**changes).items() if value is not None}

    with pytest.raises(ConfigError) as caught:
        Bare(values).load_checkpoint("s3://b/k.pth")

    assert str(caught.value).startswith("resume_from='s3://b/k.pth'")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mmengine_leaves_out_the_schedulers_of_a_run_that_has_none() -> None:
    values = checkpoint(optimizer={"state": {}, "param_groups": []})
    del values["param_schedulers"]

    assert Bare(values).load_checkpoint("s3://b/k.pth") is values
