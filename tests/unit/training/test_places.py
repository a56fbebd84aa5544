from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.journal import Upload, UploadJournal
from asyncio_loader.training import places as module
from asyncio_loader.training.places import Places, look_back, plan_places
from asyncio_loader.training.translate import RunPlan, translate
from tests.unit.training.config_3x import config_3x


def planned(**changes: Any) -> RunPlan:
    values: dict[str, Any] = {
        "model": {"type": "FasterRCNN"},
        "data": {"samples_per_gpu": 2, "workers_per_gpu": 2},
        "optimizer": {"type": "SGD", "lr": 0.02},
        "runner": {"type": "EpochBasedRunner", "max_epochs": 12},
        "checkpoint_config": {"interval": 1},
    }
    return translate({**values, **changes})


def put(places: Places, *names: str) -> None:
    for name in names:
        places.regular.client.put(b"x", places.regular.at(name))


def looked_back(places: Places, plan: RunPlan, *, resume: bool = False) -> tuple[str | None, str]:
    return look_back(places, plan, resume=resume, config_name="c.py")


def test_a_config_of_3x_goes_on_from_its_load_from(work_dir: Path) -> None:
    plan = translate(config_3x({"resume": True, "load_from": "s3://b/first.pth"}))

    assert looked_back(plan_places(plan, work_dir), plan) == ("s3://b/first.pth", "load_from")


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_everything_has_its_place_and_nothing_is_made(tmp_path: Path, work_dir: Path) -> None:
    plan = planned(
        checkpoint_config={"interval": 1, "out_dir": "s3://bucket/ckpt"},
        evaluation={"interval": 1, "save_best": "bbox_mAP", "out_dir": "s3://bucket/best"},
        log_config={"hooks": [{"type": "TextLoggerHook", "out_dir": str(tmp_path / "logs")}]},
    )

    places = plan_places(plan, work_dir)

    assert (places.regular.directory, places.best.directory) == ("s3://bucket/ckpt/run", "s3://bucket/best/run")
    assert [log.directory for log in places.logs] == [str(tmp_path / "logs" / "run")]
    assert {place.journal.path for place in (places.regular, places.best, *places.logs)} == {work_dir / "uploads.jsonl"}
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_goes_on_from_nothing(work_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = planned()

    assert looked_back(plan_places(plan, work_dir), plan) == (None, "resume_from")
    assert caplog.records == []


def test_a_resume_where_nothing_is_begins_anew_and_says_so(work_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = planned()

    with caplog.at_level(logging.INFO):
        found = looked_back(plan_places(plan, work_dir), plan, resume=True)

    assert found == (None, "resume")
    assert caplog.messages == [f"nothing to resume in {work_dir}: starting anew"]


@pytest.mark.parametrize(
    ("runner", "name"),
    [
        ({"type": "EpochBasedRunner", "max_epochs": 12}, "epoch_2.pth"),
        ({"type": "IterBasedRunner", "max_iters": 12}, "iter_4.pth"),
    ],
)
@pytest.mark.parametrize("saves", [True, False])
def test_a_resume_goes_on_from_the_last_checkpoint_also_where_no_more_are_saved(
    work_dir: Path, runner: dict[str, Any], name: str, saves: bool
) -> None:
    plan = planned(runner=runner, checkpoint_config={"interval": 1} if saves else None)
    places = plan_places(plan, work_dir)
    put(places, "epoch_1.pth", "epoch_2.pth", "iter_3.pth", "iter_4.pth")

    assert looked_back(places, plan, resume=True) == (str(work_dir / name), "resume")


def test_resume_from_is_where_a_run_begins_that_has_no_checkpoint_of_its_own(work_dir: Path) -> None:
    plan = planned(resume_from="s3://b/first.pth")
    places = plan_places(plan, work_dir)

    for resume in (False, True):
        assert looked_back(places, plan, resume=resume) == ("s3://b/first.pth", "resume_from")
    put(places, "epoch_5.pth")
    assert looked_back(places, plan, resume=True) == (str(work_dir / "epoch_5.pth"), "resume")


@pytest.mark.parametrize("is_own", [True, False])
def test_one_that_starts_among_checkpoints_of_another_run_is_warned(
    work_dir: Path, caplog: pytest.LogCaptureFixture, is_own: bool
) -> None:
    plan = planned(resume_from=str(work_dir / "epoch_1.pth") if is_own else "s3://b/first.pth")
    places = plan_places(plan, work_dir)
    put(places, "epoch_1.pth")

    looked_back(places, plan)

    assert [record.levelname for record in caplog.records] == ([] if is_own else ["WARNING"])


def test_one_that_saves_nothing_is_not_warned(work_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = planned(checkpoint_config=None)
    places = plan_places(plan, work_dir)
    put(places, "epoch_1.pth")

    looked_back(places, plan)

    assert caplog.records == []


def test_a_place_that_is_none_is_said(work_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    plan = planned(checkpoint_config={"interval": 1, "out_dir": str(tmp_path / "file")})

    with pytest.raises(ConfigError, match=r"checkpoint_config\.out_dir .* is not a directory"):
        looked_back(plan_places(plan, work_dir), plan)


def test_uploads_that_a_killed_run_left_are_cleared_up(
    work_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Upload("s3://bucket/run/epoch_1.pth", "1", {})
    monkeypatch.setattr(UploadJournal, "abort_leftovers", lambda self: [left])
    plan = planned()

    with caplog.at_level(logging.INFO):
        looked_back(plan_places(plan, work_dir), plan)

    assert caplog.messages == ["aborted an upload to s3://bucket/run/epoch_1.pth that an earlier run left unfinished"]


def test_the_runs_own_checkpoints_are_read_by_what_writes_them(work_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_checkpoint", lambda uri, **options: {"uri": uri, **options})
    ours = {"interval": 1, "out_dir": "s3://bucket/ckpt", "file_client_args": {"endpoint_url": "http://127.0.0.1:1"}}
    plan = planned(checkpoint_config=ours, trusted_checkpoints=["s3://bucket"])
    places = plan_places(plan, work_dir)

    own, other = (places.read(uri, plan) for uri in (places.regular.at("epoch_1.pth"), "s3://bucket/first.pth"))

    assert own["client"] is places.regular.client
    assert other["client"] is None
    assert own["trusted"] == other["trusted"] == ("s3://bucket",)


def test_a_checkpoint_that_is_none_is_named_by_what_asked_for_it(work_dir: Path) -> None:
    plan = planned()
    places = plan_places(plan, work_dir)
    places.resumed_by = "resume"

    with pytest.raises(ConfigError, match=rf"^resume='{work_dir}/epoch_1\.pth': no such file"):
        places.read(str(work_dir / "epoch_1.pth"), plan)
