from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.checkpoints import CheckpointPlan
from asyncio_loader.training.default_hooks import HookKeys, read_default_hooks
from asyncio_loader.training.schedule import Schedule
from asyncio_loader.training.sections import Section
from tests.unit.training.config_3x import config_3x


def read(changes: dict[str, Any] | None = None, *, by_epoch: bool = True, evaluates: bool = True) -> HookKeys:
    schedule = Schedule(by_epoch=by_epoch, length=12, optim_wrapper={}, param_scheduler=[])
    paths = {f"default_hooks.{path}".rstrip("."): value for path, value in (changes or {}).items()}
    return read_default_hooks(Section(config_3x(paths)), schedule, evaluates=evaluates)


def checkpoints(**values: Any) -> CheckpointPlan | None:
    return read({"checkpoint": {"type": "CheckpointHook", **values}}).checkpoints


def refusal(changes: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(changes, **options)
    return str(caught.value)


def test_the_hooks_of_mmdets_base_file() -> None:
    keys = read()

    assert keys.checkpoints == CheckpointPlan(by_epoch=True, best_by_epoch=True, interval=1, filename="epoch_{}.pth")
    assert keys.logger == {"type": "LoggerHook", "log_metric_by_epoch": True, "interval": 50, "ignore_last": True}
    assert (keys.checkpoint_dir, keys.logs) == (None, ())


def test_without_any_it_is_saved_after_every_epoch_as_mmengine_does() -> None:
    keys = read({"": {}})

    assert keys.checkpoints is not None
    assert (keys.checkpoints.interval, keys.logger["interval"]) == (1, 10)
    assert read({"": {}}, by_epoch=False).checkpoints is None
    assert read({"checkpoint": None}).checkpoints is None


def test_what_the_checkpoint_hook_says() -> None:
    said = {"interval": 3, "max_keep_ckpts": 2, "save_last": False, "save_optimizer": False, "filename_tmpl": "e{}.pth"}

    assert checkpoints(**said, save_best="auto", rule="greater") == CheckpointPlan(
        by_epoch=True,
        best_by_epoch=True,
        interval=3,
        keep_items=2,
        save_last=False,
        save_optimizer=False,
        filename="e{}.pth",
        best_metric="bbox_mAP",
    )


@pytest.mark.parametrize("said", ["coco/bbox_mAP_50", "bbox_mAP_50"])
def test_the_metric_of_the_best_may_have_mmdets_prefix(said: str) -> None:
    plan = checkpoints(interval=1, save_best=said)

    assert plan is not None
    assert plan.best_metric == "bbox_mAP_50"


def test_a_run_by_epochs_may_save_by_iterations() -> None:
    plan = checkpoints(interval=500, by_epoch=False)

    assert plan is not None
    assert (plan.by_epoch, plan.best_by_epoch, plan.filename) == (False, True, "iter_{}.pth")


def test_without_an_interval_the_last_step_is_saved() -> None:
    plan = checkpoints(interval=-1)

    assert plan is not None
    assert plan.save_last
    assert plan.interval is not None
    assert plan.interval > 10**6


def test_neither_interval_nor_last_nor_best_is_no_checkpoint() -> None:
    assert checkpoints(interval=-1, save_last=False) is None
    plan = checkpoints(interval=-1, save_last=False, save_best="auto")
    assert plan is not None
    assert (plan.interval, plan.best_metric) == (None, "bbox_mAP")


def test_results_have_places_of_their_own() -> None:
    aws = {"backend": "aws", "region_name": "eu-west-1"}
    keys = read(
        {
            "checkpoint.out_dir": "s3://bucket/ckpt/",
            "checkpoint.backend_args": aws,
            "logger.out_dir": "logs",
            "logger.backend_args": {"backend": "local"},
            "logger.keep_local": False,
            "logger.out_suffix": ".log",
        }
    )

    assert keys.checkpoint_dir is not None
    assert keys.checkpoint_dir.directory == "s3://bucket/ckpt"
    (log,) = keys.logs
    assert (log.out_dir.directory, log.out_dir.is_local, log.keep_local, log.suffixes) == (
        "logs",
        True,
        False,
        (".log",),
    )
    assert log.out_dir.key == "default_hooks.logger.out_dir"


def test_all_wrong_places_are_said_at_once() -> None:
    said = refusal({"checkpoint.out_dir": "s3://", "logger.out_dir": "http://x/y"})

    assert "default_hooks.checkpoint.out_dir" in said
    assert "default_hooks.logger.out_dir" in said


def test_a_sampler_that_is_not_there_needs_no_seed() -> None:
    assert read({"sampler_seed": None, "visualization": None, "timer": {"type": "IterTimerHook"}}) == read()


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"timer": None}, "default_hooks.timer=None must be a dict"),
        ({"timer.type": "MyTimer"}, "default_hooks.timer.type='MyTimer' must be 'IterTimerHook'"),
        ({"param_scheduler.x": 1}, "default_hooks.param_scheduler.x=1: there is no such key"),
        ({"early_stopping": {}}, "default_hooks.early_stopping={}: there is no such key"),
        ({"visualization.draw": True}, "default_hooks.visualization.draw=True must be False: pictures of the data are"),
        ({"logger": None}, "default_hooks.logger=None must be a dict"),
        ({"logger.intervall": 1}, "default_hooks.logger.intervall=1: there is no such key; did you mean 'interval'?"),
        (
            {"logger.backend_args": {"backend": "aws"}},
            "default_hooks.logger.backend_args: there is no out_dir beside it",
        ),
        ({"checkpoint.interval": 0}, "default_hooks.checkpoint.interval=0 must be a whole number of at least 1"),
        ({"checkpoint.max_keep_ckpts": 0}, "default_hooks.checkpoint.max_keep_ckpts=0 must be"),
        ({"checkpoint.save_best": "segm"}, "default_hooks.checkpoint.save_best='segm' must be one of"),
        ({"checkpoint.published_keys": ["x"]}, "default_hooks.checkpoint.published_keys=['x'] must be None"),
        (
            {"checkpoint.save_param_scheduler": False},
            "default_hooks.checkpoint.save_param_scheduler=False must be True",
        ),
        ({"checkpoint.filename_tmpl": "last.pth"}, "default_hooks.checkpoint.filename_tmpl='last.pth' must be"),
        ({"checkpoint.file_client_args": {}}, "default_hooks.checkpoint.file_client_args={}: there is no such key"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], start: str) -> None:
    assert refusal(changes).startswith(start)


def test_the_best_needs_an_evaluation() -> None:
    said = refusal({"checkpoint.save_best": "auto"}, evaluates=False)

    assert said.startswith("default_hooks.checkpoint.save_best='auto': there is no val_evaluator to tell which is")


def test_a_run_by_iterations_saves_by_iterations() -> None:
    assert refusal({"checkpoint.by_epoch": True}, by_epoch=False).startswith(
        "default_hooks.checkpoint.by_epoch=True must be False: the runner counts iterations"
    )
