from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from asyncio_loader.errors import AccessDenied, LoaderError, ServerFault
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.progress import showing_transfers
from asyncio_loader.training.checkpoints import LAST_CHECKPOINT, CheckpointHook, CheckpointPlan, build_checkpoint
from asyncio_loader.training.destinations import Destination
from asyncio_loader.training.out_dirs import OutDir

ROOT = "memory://checkpoints"


class FakeLoader:
    """Two steps per epoch; all that was trained is consumed."""

    def __init__(self, runner: FakeRunner) -> None:
        self._runner = runner
        self.dataset = SimpleNamespace(metainfo={"classes": ("a",)})

    def __len__(self) -> int:
        return 2

    def state_dict(self) -> dict[str, Any]:
        return {"version": 1, "epoch": self._runner.epoch, "consumed": 2 * self._runner.iter, "plan": {"seed": 0}}


class FakeRunner:
    """As much of mmengine's as the hook looks at: a run by epochs of one iteration."""

    def __init__(self, epochs: int, hub: str) -> None:
        self.max_epochs = self.max_iters = epochs
        self.epoch = self.iter = 0
        self.seed = 0
        self.cfg: Any = SimpleNamespace(pretty_text="")
        self.experiment_name = "fake"
        self.logger = logging.getLogger("fake")
        self.message_hub = MessageHub(hub)
        self.model = torch.nn.Linear(2, 1)
        self.optim_wrapper = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.param_schedulers: list[Any] = []
        self.train_dataloader = FakeLoader(self)

    def call_hook(self, name: str, **_: object) -> None:
        assert name == "before_save_checkpoint"


class FakeClient:
    """`FileClient` over memory that writes down what happens, and fails where it is told to."""

    def __init__(self) -> None:
        self.client = self
        self.done: list[str] = []
        self.broken: set[str] = set()
        self.real = FileClient("memory")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def open(self, uri: str, mode: Any, **_: object) -> AbstractContextManager[BinaryIO]:
        self._act("write", uri)
        return self.real.open(uri, mode)

    def remove(self, uri: str) -> None:
        self._act("remove", uri)
        self.real.remove(uri)

    def _act(self, what: str, uri: str) -> None:
        name = f"{what} {uri.rpartition('/')[2]}"
        if name in self.broken:
            raise (AccessDenied if what == "remove" else ServerFault)(f"{uri}: no")
        self.done.append(name)


class Case:
    """A hook, and a runner that goes through epochs with given scores."""

    def __init__(self, tmp_path: Path, **plan: Any) -> None:
        self.client: Any = FakeClient()
        self.work_dir = tmp_path / "run"
        self.work_dir.mkdir(exist_ok=True)
        journal = UploadJournal(self.work_dir / "uploads.jsonl")
        root = OutDir("checkpoint_config.out_dir", f"{ROOT}-{tmp_path.name}", self.client)
        self.place = Destination.under(root, self.work_dir, journal)
        self.runner = FakeRunner(4, str(tmp_path))
        values = {"by_epoch": True, "best_by_epoch": True, "interval": 1, "filename": "epoch_{}.pth", **plan}
        self.hook = CheckpointHook(CheckpointPlan(**values), self.place, self.place, self.work_dir)

    def go(self, *scores: float | None) -> None:
        """One epoch for each score; None: without an evaluation."""
        for score in scores:
            self.hook.after_train_epoch(self.runner)
            self.runner.epoch += 1
            self.runner.iter += 1
            if score is not None:
                self.hook.after_val_epoch(self.runner, {"bbox_mAP": score})

    @property
    def done(self) -> list[str]:
        done = list(self.client.done)
        self.client.done.clear()
        return done

    def saved(self, name: str) -> Any:
        with self.client.open(self.place.at(name), "rb") as file:
            return torch.load(file, weights_only=False)


def test_the_new_one_is_complete_before_an_old_one_goes(tmp_path: Path) -> None:
    case = Case(tmp_path, keep_items=2)
    case.hook.before_train(case.runner)

    case.go(None, None, None)

    assert case.done == ["write epoch_1.pth", "write epoch_2.pth", "write epoch_3.pth", "remove epoch_1.pth"]
    assert (case.work_dir / LAST_CHECKPOINT).read_text() == case.place.at("epoch_3.pth")


def test_it_has_what_mmengine_reads(tmp_path: Path) -> None:
    case = Case(tmp_path, keep_items=1)

    case.go(None)

    checkpoint = case.saved("epoch_1.pth")
    assert checkpoint.keys() == {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "data"}
    assert (checkpoint["meta"]["epoch"], checkpoint["meta"]["iter"]) == (1, 0)
    assert checkpoint["meta"]["dataset_meta"] == {"classes": ("a",)}
    assert checkpoint["meta"]["steps_per_epoch"] == 2
    info = checkpoint["message_hub"]["runtime_info"]
    assert (info["last_ckpt"], info["keep_ckpt_ids"]) == (case.place.at("epoch_1.pth"), [1])


def test_the_optimizer_may_stay_out(tmp_path: Path) -> None:
    case = Case(tmp_path, save_optimizer=False)

    case.go(None)

    assert "optimizer" not in case.saved("epoch_1.pth")


@pytest.mark.parametrize(("save_last", "names"), [(True, ["3", "4"]), (False, ["3"])])
def test_the_last_step_is_saved_off_the_interval(tmp_path: Path, save_last: bool, names: list[str]) -> None:
    case = Case(tmp_path, interval=3, save_last=save_last)

    case.go(None, None, None, None)

    assert case.done == [f"write epoch_{name}.pth" for name in names]


def test_a_first_score_of_zero_is_the_best(tmp_path: Path) -> None:
    case = Case(tmp_path, interval=None, best_metric="bbox_mAP")

    case.go(0.0)

    assert case.done == ["write best_bbox_mAP_epoch_1.pth"]


def test_the_previous_best_goes_when_all_of_the_new_one_is_there(tmp_path: Path) -> None:
    case = Case(tmp_path, best_metric="bbox_mAP")

    case.go(0.1, 0.1, 0.2)

    assert case.done == [
        "write epoch_1.pth",
        "write best_bbox_mAP_epoch_1.pth",
        # Again, so that it knows the best one.
        "write epoch_1.pth",
        "write epoch_2.pth",
        "write epoch_3.pth",
        "write best_bbox_mAP_epoch_3.pth",
        "write epoch_3.pth",
        "remove best_bbox_mAP_epoch_1.pth",
    ]
    assert case.saved("epoch_3.pth")["message_hub"]["runtime_info"]["best_score"] == 0.2


def test_the_best_has_no_optimizer(tmp_path: Path) -> None:
    case = Case(tmp_path, interval=None, best_metric="bbox_mAP")

    case.go(0.5)

    assert case.saved("best_bbox_mAP_epoch_1.pth").keys() == {"meta", "state_dict", "message_hub"}


def test_an_upload_is_shown_where_somebody_looks_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed one, too: as far as it came."""
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "plain")
    case = Case(tmp_path)
    case.go(None)
    with showing_transfers():
        case.go(None)
        case.client.broken.add("write epoch_3.pth")
        with pytest.raises(LoaderError, match="the upload failed"):
            case.go(None)

    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in said] == ["upload epoch_2.pth", "upload epoch_3.pth"]
    assert " MB in 0:0" in said[0]
    assert ": failed after 0.0 MB in 0:0" in said[1]


def test_a_failed_upload_is_saved_here_and_nothing_is_removed(tmp_path: Path) -> None:
    case = Case(tmp_path, keep_items=1)
    case.go(None)
    case.client.broken = {"write epoch_2.pth"}
    _ = case.done

    with pytest.raises(LoaderError) as caught:
        case.go(None)

    kept = case.work_dir / "epoch_2.pth"
    uri = case.place.at("epoch_2.pth")
    assert str(caught.value) == f"{uri}: the upload failed; the checkpoint is saved as {kept}: {uri}: no"
    assert torch.load(kept, weights_only=False)["meta"]["epoch"] == 2
    assert case.done == []
    assert (case.work_dir / LAST_CHECKPOINT).read_text() == str(kept)


def test_where_even_that_fails_both_reasons_are_given(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.client.broken = {"write epoch_1.pth"}
    (case.work_dir / "epoch_1.pth").mkdir()

    with pytest.raises(LoaderError, match=r"the upload failed \(.*: no\), and the checkpoint could not be saved as "):
        case.go(None)


def test_what_cannot_be_removed_stays_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case(tmp_path, keep_items=1)
    case.client.broken = {"remove epoch_1.pth"}

    case.go(None, None, None)

    assert case.done == ["write epoch_1.pth", "write epoch_2.pth", "write epoch_3.pth", "remove epoch_2.pth"]
    assert "epoch_1.pth could not be removed and stays" in caplog.text


def test_a_resumed_run_removes_what_the_first_one_had(tmp_path: Path) -> None:
    case = Case(tmp_path, keep_items=2)
    case.runner.message_hub.update_info("keep_ckpt_ids", [1, 2, 3])
    case.runner.message_hub.update_info("last_ckpt", case.place.at("epoch_3.pth"))
    case.runner.epoch = case.runner.iter = 3

    case.hook.before_train(case.runner)
    case.go(None)

    assert case.done == ["remove epoch_1.pth", "write epoch_4.pth", "remove epoch_2.pth"]


def test_a_resumed_run_leaves_alone_what_lies_elsewhere(tmp_path: Path) -> None:
    case = Case(tmp_path, keep_items=1, best_metric="bbox_mAP")
    hub = case.runner.message_hub
    hub.update_info("keep_ckpt_ids", [1, 2])
    hub.update_info("last_ckpt", "memory://checkpoints/other/epoch_2.pth")
    hub.update_info("best_ckpt", "memory://checkpoints/other/best_bbox_mAP_epoch_1.pth")
    hub.update_info("best_score", 0.1)
    case.runner.epoch = case.runner.iter = 2

    case.hook.before_train(case.runner)
    case.go(0.2)

    assert not [act for act in case.done if act.startswith("remove")]


def test_what_interrupts_a_write_comes_through_and_not_what_torch_says_of_it(tmp_path: Path) -> None:
    case = Case(tmp_path)

    class Interrupted:
        def write(self, data: bytes) -> int:
            raise KeyboardInterrupt

        def __enter__(self) -> Interrupted:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    case.client.open = lambda *_, **__: Interrupted()

    with pytest.raises(KeyboardInterrupt):
        case.go(None)


def test_the_previous_best_stays_until_a_checkpoint_knows_the_new_one(tmp_path: Path) -> None:
    case = Case(tmp_path, interval=2, best_metric="bbox_mAP")

    case.go(0.1, 0.2)
    assert case.done[-2:] == ["write epoch_2.pth", "remove best_bbox_mAP_epoch_1.pth"]
    case.go(0.3)
    # Should the run end here, epoch_2.pth is what it goes on from, and that names the best one of epoch 2.
    assert case.done == ["write best_bbox_mAP_epoch_3.pth"]
    case.go(None)

    assert case.done == ["write epoch_4.pth", "remove best_bbox_mAP_epoch_2.pth"]


def test_without_regular_checkpoints_the_previous_best_goes_at_once(tmp_path: Path) -> None:
    case = Case(tmp_path, interval=None, best_metric="bbox_mAP")

    case.go(0.1, 0.2)

    assert case.done[-2:] == ["write best_bbox_mAP_epoch_2.pth", "remove best_bbox_mAP_epoch_1.pth"]


def test_a_resumed_run_removes_the_best_ones_its_checkpoint_had_outdone(tmp_path: Path) -> None:
    case = Case(tmp_path, best_metric="bbox_mAP")
    hub = case.runner.message_hub
    outdone = [case.place.at("best_bbox_mAP_epoch_1.pth"), "memory://checkpoints/other/best_bbox_mAP_epoch_2.pth"]
    hub.update_info("outdone_best_ckpts", outdone)
    hub.update_info("best_ckpt", case.place.at("best_bbox_mAP_epoch_3.pth"))

    case.hook.before_train(case.runner)

    assert case.done == ["remove best_bbox_mAP_epoch_1.pth"]
    assert hub.get_info("outdone_best_ckpts") == []


def test_the_note_of_a_rescued_checkpoint_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(tmp_path)
    case.client.broken = {"write epoch_1.pth"}
    monkeypatch.chdir(tmp_path)
    plan = CheckpointPlan(by_epoch=True, best_by_epoch=True, interval=1, filename="epoch_{}.pth")
    case.hook = CheckpointHook(plan, case.place, case.place, Path("run"))

    with pytest.raises(LoaderError, match="the upload failed"):
        case.go(None)

    assert (tmp_path / "run" / LAST_CHECKPOINT).read_text() == str(tmp_path / "run" / "epoch_1.pth")


def test_the_text_of_a_config_is_laid_out_once_and_anew_when_it_changes() -> None:
    laid_out: list[str] = []

    class Counted(Config):  # type: ignore[misc]
        @property
        def pretty_text(self) -> str:
            laid_out.append("once")
            return str(super().pretty_text)

    runner = FakeRunner(1, "text-of-a-config")
    runner.cfg = Counted({"lr": 0.5})
    texts = [build_checkpoint(runner, {}, is_resumable=False)["meta"]["cfg"] for _ in range(3)]
    runner.cfg.lr = 0.25
    texts += [build_checkpoint(runner, {}, is_resumable=False)["meta"]["cfg"] for _ in range(2)]

    assert texts == ["lr = 0.5\n"] * 3 + ["lr = 0.25\n"] * 2
    assert len(laid_out) == 2
