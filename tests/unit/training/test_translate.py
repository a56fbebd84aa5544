from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.checkpoints import CheckpointPlan
from asyncio_loader.training.dialect import MMDET_2X, MMDET_3X
from asyncio_loader.training.translate import DataPlan, RunPlan, translate, translate_data


def config(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": {"type": "FasterRCNN"},
        "data": {"samples_per_gpu": 2, "workers_per_gpu": 2},
        "optimizer": {"type": "SGD", "lr": 0.02, "momentum": 0.9},
        "runner": {"type": "EpochBasedRunner", "max_epochs": 12},
        "evaluation": {"interval": 1, "metric": "bbox"},
        "checkpoint_config": {"interval": 1},
        "log_config": {"interval": 50, "hooks": [{"type": "TextLoggerHook"}]},
        "workflow": [("train", 1)],
    }
    return {**values, **changes}


def plan(**changes: Any) -> RunPlan:
    return translate(config(**changes))


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(**changes)
    return str(caught.value)


def test_all_sections_that_are_missing_are_named_at_once() -> None:
    assert refusal(optimizer=None, runner=None) == (
        "optimizer, runner are missing: a run takes model, data, optimizer, runner"
    )
    assert refusal(model=None).startswith("model is missing")


def test_a_section_that_is_nearly_one_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    plan(
        evalution={"interval": 1}, checkpoint_confg={"interval": 5}, train_pipeline=[], img_norm_cfg={}, evaluatoin="x"
    )

    assert sorted(caplog.messages) == [
        "config: checkpoint_confg is taken for a variable of yours; if it shall be checkpoint_config, it is misspelt",
        "config: evalution is taken for a variable of yours; if it shall be evaluation, it is misspelt",
    ]


def test_a_look_at_the_data_takes_no_more_than_the_data() -> None:
    data = {"samples_per_gpu": 3, "workers_per_gpu": 0}

    assert translate_data({"data": data, "seed": 4}, "val") == DataPlan(
        dialect=MMDET_2X, batch_size=3, thread_count=1, seed=4
    )


def test_in_3x_each_split_has_its_own_way_to_be_taken() -> None:
    config = {
        "val_dataloader": {"batch_size": 1, "num_workers": 4, "dataset": {}},
        "randomness": {"seed": 9},
    }

    assert translate_data(config, "val") == DataPlan(dialect=MMDET_3X, batch_size=1, thread_count=4, seed=9)
    with pytest.raises(ConfigError, match="train_dataloader is missing"):
        translate_data(config, "train")


def test_a_run_by_epochs() -> None:
    translated = plan(evaluation={"interval": 2, "start": 4})

    assert translated.train_cfg == {"max_epochs": 12, "val_interval": 2, "val_begin": 4}
    assert translated.checkpoints is not None
    assert (translated.checkpoints.by_epoch, translated.checkpoints.filename) == (True, "epoch_{}.pth")


def test_a_run_by_iterations() -> None:
    translated = plan(runner={"type": "IterBasedRunner", "max_iters": 100}, evaluation=None)

    assert translated.train_cfg == {"max_iters": 100, "val_interval": 100, "val_begin": 1}
    assert translated.val_interval is None
    assert translated.checkpoints is not None
    assert (translated.checkpoints.by_epoch, translated.checkpoints.filename) == (False, "iter_{}.pth")


@pytest.mark.parametrize(
    ("said", "meant"), [("bbox", "bbox_mAP"), ("auto", "bbox_mAP"), ("bbox_mAP_50", "bbox_mAP_50")]
)
def test_the_best_checkpoint_is_kept_by_its_metric(said: str, meant: str) -> None:
    checkpoints = plan(evaluation={"save_best": said}).checkpoints

    assert checkpoints is not None
    assert checkpoints.best_metric == meant


def test_the_best_checkpoint_is_kept_without_regular_ones() -> None:
    checkpoints = plan(evaluation={"save_best": "bbox"}, checkpoint_config=None).checkpoints

    assert checkpoints is not None
    assert (checkpoints.interval, checkpoints.best_metric) == (None, "bbox_mAP")


def test_without_checkpoint_config_there_are_no_checkpoints() -> None:
    assert plan(checkpoint_config=None).checkpoints is None


def test_what_checkpoint_config_says() -> None:
    said = {"interval": 3, "max_keep_ckpts": 2, "save_last": False, "save_optimizer": False, "filename_tmpl": "e{}.pth"}

    assert plan(checkpoint_config=said).checkpoints == CheckpointPlan(
        by_epoch=True,
        best_by_epoch=True,
        interval=3,
        keep_items=2,
        save_last=False,
        save_optimizer=False,
        filename="e{}.pth",
    )


def test_a_run_by_epochs_may_save_by_iterations() -> None:
    checkpoints = plan(
        checkpoint_config={"by_epoch": False, "interval": 500}, evaluation={"save_best": "bbox"}
    ).checkpoints

    assert checkpoints is not None
    assert (checkpoints.by_epoch, checkpoints.regular_name(500)) == (False, "iter_500.pth")
    assert checkpoints.best_name(2) == "best_bbox_mAP_epoch_2.pth"


def test_a_run_by_iterations_has_no_end_of_an_epoch_to_save_at() -> None:
    said = refusal(runner={"type": "IterBasedRunner", "max_iters": 9}, checkpoint_config={"by_epoch": True})

    assert said == "checkpoint_config.by_epoch=True must be False: the runner counts iterations"


def test_each_section_has_an_out_dir_of_its_own() -> None:
    translated = plan(
        evaluation={"out_dir": "s3://bucket/best/"},
        checkpoint_config={"out_dir": "s3://bucket/ckpt/"},
        log_config={"hooks": [{"type": "TextLoggerHook"}, {"type": "TextLoggerHook", "out_dir": "s3://bucket/logs/"}]},
    )

    assert translated.best_dir is not None
    assert translated.checkpoint_dir is not None
    (logs,) = translated.logs
    directories = [translated.best_dir.directory, translated.checkpoint_dir.directory, logs.out_dir.directory]
    assert directories == ["s3://bucket/best", "s3://bucket/ckpt", "s3://bucket/logs"]
    assert logs.out_dir.key == "log_config.hooks[1].out_dir"


def test_log_files_are_chosen_by_the_ends_of_their_names() -> None:
    hooks = [{"type": "TextLoggerHook", "out_dir": "logs", "out_suffix": ".log", "keep_local": False}]

    (logs,) = plan(log_config={"hooks": hooks}).logs

    assert (logs.suffixes, logs.keep_local) == ((".log",), False)


def test_all_wrong_out_dirs_are_said_at_once() -> None:
    said = refusal(
        checkpoint_config={"out_dir": "s3://"}, evaluation={"out_dir": "http://x/y"}, load_from="s3://bucket/x.pth"
    )

    assert "checkpoint_config.out_dir" in said
    assert "evaluation.out_dir" in said


def test_places_of_trusted_checkpoints() -> None:
    assert plan(trusted_checkpoints="s3://bucket/ours").trusted_checkpoints == ("s3://bucket/ours",)
    assert plan().trusted_checkpoints == ()


def test_a_logger_hook_may_have_an_interval_of_its_own() -> None:
    hooks = [{"type": "TextLoggerHook", "interval": 7}]

    assert plan(log_config={"interval": 50, "hooks": hooks}).logger["interval"] == 7


def test_class_count_hook_of_mmdet_is_built_in() -> None:
    hooks = [{"type": "NumClassCheckHook"}, {"type": "EmptyCacheHook", "after_epoch": True, "priority": 40}]

    assert plan(custom_hooks=hooks).custom_hooks == [hooks[1]]


def test_weights_may_lie_anywhere() -> None:
    assert plan(load_from="s3://bucket/x.pth").load_from == "s3://bucket/x.pth"


def test_resume_from_wins_over_load_from() -> None:
    translated = plan(load_from="a.pth", resume_from="b.pth")

    assert (translated.load_from, translated.is_resumed) == ("b.pth", True)


def test_no_workers_means_one_thread() -> None:
    assert plan(data={"samples_per_gpu": 2, "workers_per_gpu": 0}).thread_count == 1


def test_the_seed_is_zero_unless_said() -> None:
    assert plan().randomness == {"seed": 0, "deterministic": False}
    assert plan(seed=5).randomness["seed"] == 5


def test_variables_of_the_user_pass() -> None:
    plan(data_root="x", train_pipeline=[], my_thing={"lr": 3})


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"data": {"samples_per_gpu": 0}}, "data.samples_per_gpu=0 must be a whole number of at least 1"),
        ({"data": {"samples_per_gpu": 2, "workers_per_gpu": -1}}, "data.workers_per_gpu=-1 must be"),
        ({"runner": {"type": "EpochBasedRunner", "max_epoch": 3}}, "runner.max_epochs is missing"),
        ({"runner": {"type": "EpochRunner", "max_epochs": 3}}, "runner.type='EpochRunner' must be"),
        ({"data": {"samples_per_gpu": 2, "samples_per_gpuu": 4}}, "data.samples_per_gpuu=4: there is no such key"),
        ({"evaluation": {"intervall": 1}}, "evaluation.intervall=1: there is no such key; did you mean 'interval'?"),
        ({"evaluation": {"metric": ["bbox", "segm"]}}, "evaluation.metric=['bbox', 'segm'] must be"),
        ({"evaluation": {"save_best": "segm"}}, "evaluation.save_best='segm' must be one of"),
        ({"evaluation": {"by_epoch": False}}, "evaluation.by_epoch=False must be True: the runner counts epochs"),
        ({"checkpoint_config": {"out_dir": "s3://"}}, "checkpoint_config.out_dir: 's3:"),
        ({"checkpoint_config": {"max_keep_ckpts": 0}}, "checkpoint_config.max_keep_ckpts=0 must be"),
        ({"checkpoint_config": {"filename_tmpl": "last.pth"}}, "checkpoint_config.filename_tmpl='last.pth' must be"),
        ({"checkpoint_config": {"filename_tmpl": "{}_{}.pth"}}, "checkpoint_config.filename_tmpl='{}_{}.pth' must be"),
        ({"checkpoint_config": {"filename_tmpl": "e_{}}.pth"}}, "checkpoint_config.filename_tmpl='e_{}}.pth' must be"),
        ({"log_config": {"hooks": {"type": "TextLoggerHook"}}}, "log_config.hooks={'type': 'TextLoggerHook'} must be"),
        ({"file_client_args": {"backend": "aws", "endpoint": "x"}}, "file_client_args: backend 'aws' has no option"),
        (
            {"log_config": {"hooks": [{"type": "TextLoggerHook", "file_client_args": {"backend": "aws"}}]}},
            "log_config.hooks[0].file_client_args: there is no out_dir",
        ),
        ({"trusted_checkpoints": [1]}, "trusted_checkpoints=[1] must be a list of non-empty strings"),
        ({"log_config": {"hooks": [{"type": "TensorboardLoggerHook"}]}}, "log_config.hooks[0].type="),
        ({"custom_hooks": [{"type": "EMAHok"}]}, "custom_hooks[0].type='EMAHok' must be one of"),
        ({"custom_hooks": [{"type": "EMAHook", "momentun": 1}]}, "custom_hooks[0].momentun=1: there is no such key"),
        ({"workflow": [("train", 1), ("val", 1)]}, "workflow=[('train', 1), ('val', 1)] must be [('train', 1)]"),
        ({"fp16": {"loss_scale": 512.0}}, "fp16={'loss_scale': 512.0}: mixed precision is not there yet"),
        ({"log_level": "LOUD"}, "log_level='LOUD' must be one of"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], start: str) -> None:
    assert refusal(**changes).startswith(start)


def test_hooks_of_the_log_may_be_none() -> None:
    assert plan(log_config={"hooks": None}).logs == ()


@pytest.mark.parametrize("name", [{"backend": "aws"}, {"backend": "s3"}, {"prefix": "s3"}])
def test_weights_are_read_with_the_storage_of_all_the_data(name: dict[str, str]) -> None:
    arguments = {**name, "endpoint_url": "http://127.0.0.1:9"}

    assert plan(file_client_args=arguments).weights_client is FileClient(**arguments)


@pytest.mark.parametrize("arguments", [None, {"backend": "disk"}, {"backend": "petrel", "x": 1}, "mine", {}])
def test_weights_are_else_read_with_the_environment(arguments: object) -> None:
    assert plan(file_client_args=arguments).weights_client is None


def test_the_longest_names_are_those_of_the_last_step() -> None:
    translated = plan(evaluation={"save_best": "auto"})

    assert translated.longest_names == ("epoch_12.pth", "best_bbox_mAP_epoch_12.pth")
    assert plan(checkpoint_config=None).longest_names == (None, None)


def test_the_last_step_of_a_run_by_epochs_that_saves_by_iterations_is_a_large_number() -> None:
    assert plan(checkpoint_config={"by_epoch": False}).longest_names[0] == "iter_999999999.pth"
