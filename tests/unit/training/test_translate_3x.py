from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.dialect import MMDET_2X, MMDET_3X
from asyncio_loader.training.plan import RunPlan
from asyncio_loader.training.translate import translate
from tests.unit.training.config_3x import config_3x


def plan(**changes: Any) -> RunPlan:
    return translate(config_3x({path.replace("__", "."): value for path, value in changes.items()}))


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        translate(config_3x(changes))
    return str(caught.value)


def test_mmdets_base_files_make_a_plan() -> None:
    translated = plan()

    assert translated.dialect is MMDET_3X
    assert (translated.batch_size, translated.thread_count) == (2, 2)
    assert (translated.val_batch_size, translated.val_thread_count) == (1, 3)
    assert translated.train_cfg == {"max_epochs": 12, "val_interval": 1, "val_begin": 1}
    assert (translated.logger["interval"], translated.log_window) == (50, 50)
    assert (translated.load_from, translated.is_resumed, translated.resumes_last) == (None, False, False)
    assert translated.randomness == {"seed": 0, "deterministic": False}


def test_what_both_dialects_can_say_is_one_plan() -> None:
    old = translate(load_config("faster_rcnn_r18_fpn_bccd_s3").to_dict())
    new = translate(load_config("faster-rcnn_r18_fpn_bccd_s3").to_dict())

    assert new == dataclasses.replace(old, dialect=MMDET_3X)
    assert old.dialect is MMDET_2X


def test_the_ready_config_of_coco_keeps_what_mmdets_schedule_and_the_tutorial_say() -> None:
    old = translate(load_config("faster_rcnn_r50_fpn_1x_coco_s3").to_dict())
    new = translate(load_config("faster-rcnn_r50_fpn_1x_coco_s3").to_dict())

    for name in ("val_interval", "checkpoints", "logger", "load_from", "weights_client", "randomness", "train_cfg"):
        assert getattr(new, name) == getattr(old, name)
    assert new.schedule.optim_wrapper == old.schedule.optim_wrapper
    assert new.checkpoint_dir is not None
    assert old.checkpoint_dir is not None
    assert new.checkpoint_dir.directory == old.checkpoint_dir.directory


def test_a_run_by_iterations() -> None:
    changes = {
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 100},
        "default_hooks.checkpoint.by_epoch": False,
        "log_processor.by_epoch": False,
        "param_scheduler": None,
    }
    translated = translate(config_3x(changes))

    # mmengine's own default.
    assert translated.train_cfg == {"max_iters": 100, "val_interval": 1000, "val_begin": 1}
    assert translated.checkpoints is not None
    assert translated.checkpoints.filename == "iter_{}.pth"


def test_without_the_three_keys_of_an_evaluation_there_is_none() -> None:
    translated = plan(val_dataloader=None, val_cfg=None, val_evaluator=None)

    assert translated.val_interval is None
    assert (translated.val_batch_size, translated.val_thread_count) == (2, 2)


def test_an_evaluator_may_be_in_a_list_and_need_not_name_the_file() -> None:
    assert plan(val_evaluator=[{"type": "CocoMetric", "metric": ["bbox"]}]).val_interval == 1


@pytest.mark.parametrize(
    ("resume", "load_from", "expected"),
    [
        (True, "a.pth", ("a.pth", True, False)),
        (True, None, (None, False, True)),
        (False, "a.pth", ("a.pth", False, False)),
    ],
)
def test_resume_goes_on_from_load_from_or_from_the_last_checkpoint(
    resume: bool, load_from: str | None, expected: tuple[Any, ...]
) -> None:
    translated = plan(resume=resume, load_from=load_from)

    assert (translated.load_from, translated.is_resumed, translated.resumes_last) == expected


def test_what_the_environment_says() -> None:
    translated = plan(env_cfg__cudnn_benchmark=True, env_cfg__mp_cfg={"opencv_num_threads": 2})

    assert (translated.benchmarks_cudnn, translated.opencv_thread_count) == (True, 2)
    assert plan(env_cfg=...).benchmarks_cudnn is False


def test_the_log_is_over_as_many_steps_as_it_says_or_as_between_its_lines() -> None:
    assert plan(log_processor__window_size=7).log_window == 7
    assert plan(log_processor=...).log_window == 50


def test_the_seed_is_that_of_randomness() -> None:
    assert plan(randomness={"seed": 5, "diff_rank_seed": True}).randomness["seed"] == 5
    # `seed` may be the variable that it comes from.
    assert plan(seed=5, randomness={"seed": 5}).randomness["seed"] == 5
    assert plan(randomness=None).randomness == {"seed": 0, "deterministic": False}


def test_weights_are_read_with_the_backend_args_at_the_top() -> None:
    arguments = {"backend": "aws", "endpoint_url": "http://127.0.0.1:9"}

    assert plan(backend_args=arguments).weights_client is FileClient(**arguments)
    assert plan(backend_args={"backend": "local"}).weights_client is None


def test_places_of_trusted_checkpoints_and_hooks() -> None:
    translated = plan(trusted_checkpoints=["s3://b/x"], custom_hooks=[{"type": "NumClassCheckHook"}])

    assert (translated.trusted_checkpoints, translated.custom_hooks) == (("s3://b/x",), [])


def test_variables_and_what_only_tests_pass() -> None:
    plan(data_preprocessor={"mean": [1]}, model={"data_preprocessor": {"mean": [1]}})
    plan(my_thing={"lr": 3}, tta_model={"type": "DetTTAModel"}, tta_pipeline=[], test_evaluator={"type": "Mine"})


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"train_dataloader.batch_size": 0}, "train_dataloader.batch_size=0 must be a whole number of at least 1"),
        ({"train_dataloader.samples_per_gpu": 2}, "train_dataloader.samples_per_gpu=2: there is no such key"),
        ({"optimizer": {"type": "SGD"}}, "optimizer of mmdet 2.x and train_dataloader, val_dataloader, "),
        (
            {"val_evaluator": None},
            "val_evaluator is missing: val_dataloader, val_cfg, val_evaluator are there together",
        ),
        ({"val_cfg": {"type": "TestLoop"}}, "val_cfg.type='TestLoop' must be 'ValLoop'"),
        ({"val_cfg.fp16": True}, "val_cfg.fp16=True must be False: mixed precision is not there yet"),
        ({"val_evaluator.type": "VOCMetric"}, "val_evaluator.type='VOCMetric' must be 'CocoMetric'"),
        ({"val_evaluator.metric": ["bbox", "segm"]}, "val_evaluator.metric=['bbox', 'segm'] must be"),
        ({"val_evaluator.classwise": True}, "val_evaluator.classwise=True must be False: the six numbers of COCO"),
        ({"val_evaluator.format_only": True}, "val_evaluator.format_only=True must be False"),
        (
            {"val_evaluator": [{"type": "CocoMetric", "metrik": 1}]},
            "val_evaluator[0].metrik=1: there is no such key; did",
        ),
        ({"val_evaluator": []}, "val_evaluator=[] must be one evaluator"),
        (
            {"val_evaluator.ann_file": "data/coco/other.json"},
            "val_evaluator.ann_file='data/coco/other.json' must be that of val_dataloader.dataset, "
            "'data/coco/val.json', or left out",
        ),
        ({"env_cfg.mp_config": {}}, "env_cfg.mp_config={}: there is no such key; did you mean 'mp_cfg'?"),
        ({"env_cfg.cudnn_benchmark": 1}, "env_cfg.cudnn_benchmark=1 must be True or False"),
        ({"visualizer.type": "Mine"}, "visualizer.type='Mine' must be"),
        (
            {"visualizer.vis_backends": [{"type": "WandbVisBackend"}]},
            "visualizer.vis_backends[0].type='WandbVisBackend' must be 'LocalVisBackend': scalars are written beside",
        ),
        ({"visualizer.vis_backends": "Local"}, "visualizer.vis_backends='Local' must be a list of dicts"),
        ({"log_processor.by_epoch": False}, "log_processor.by_epoch=False must be True: the runner counts epochs"),
        ({"log_level": "LOUD"}, "log_level='LOUD' must be one of"),
        ({"resume": "auto"}, "resume='auto' must be True or False"),
        ({"load_from": 3}, "load_from=3 must be a non-empty string"),
        ({"randomness": {"sed": 3}}, "randomness.sed=3: there is no such key; did you mean 'seed'?"),
        ({"seed": 3}, "seed=3 is how mmdet 2.x says it: in 3.x say randomness=dict(seed=…)"),
        ({"deterministic": True}, "deterministic=True is how mmdet 2.x says it"),
        ({"sync_bn": "torch"}, "sync_bn='torch': that is not there: leave it out"),
        ({"runner_type": "FlexibleRunner"}, "runner_type='FlexibleRunner': that is not there"),
        (
            {"data_preprocessor": {"mean": [1]}},
            "data_preprocessor={'mean': [1]}: say it in model.data_preprocessor, too",
        ),
        ({"custom_hooks": [{"type": "EMAHok"}]}, "custom_hooks[0].type='EMAHok' must be one of"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], start: str) -> None:
    assert refusal(changes).startswith(start)
