from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from asyncio_loader import config
from asyncio_loader.config import load_config, parse_cfg_options, ready_configs
from asyncio_loader.errors import ConfigError


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, options: dict[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_child_merges_dicts_and_replaces_lists(tmp_path: Path) -> None:
    write(tmp_path, "base.py", "model = dict(depth=50, neck=dict(outs=5))\nsteps = [8, 11]")
    child = write(tmp_path, "child.py", "_base_ = 'base.py'\nmodel = dict(neck=dict(outs=4))\nsteps = [1]")

    config = load_config(child)

    assert config.model == {"depth": 50, "neck": {"outs": 4}}
    assert config.steps == [1]


def test_delete_replaces_a_dict_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, "base.py", "optimizer = dict(type='SGD', momentum=0.9)")
    child = write(tmp_path, "child.py", "_base_ = ['base.py']\noptimizer = dict(_delete_=True, type='AdamW')")

    assert load_config(child).optimizer == {"type": "AdamW"}


def test_delete_leaves_no_mark_where_there_is_nothing_to_delete(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "data = [dict(optimizer=dict(_delete_=True, type='AdamW'))]")

    assert load_config(path).data == [{"optimizer": {"type": "AdamW"}}]


def test_file_dirname_is_the_absolute_directory(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "data_root = '{{ fileDirname }}/coco/'")

    assert load_config(path).data_root == f"{tmp_path}/coco/"


@pytest.mark.parametrize(
    ("name", "text"), [("c.json", '{"model": {"depth": 18}}'), ("c.yaml", "model:\n  depth: 18\n")]
)
def test_json_and_yaml_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert load_config(write(tmp_path, name, text)).model.depth == 18


def test_yaml_has_bases(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "model:\n  depth: 18\n")

    assert load_config(write(tmp_path, "child.yaml", "_base_: base.yaml\nseed: 3\n")).model.depth == 18


def test_options_reach_into_dicts_and_lists(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "data = dict(train=dict(pipeline=[dict(type='A'), dict(type='B', scale=1)]))")

    config = load_config(path, {"data.train.pipeline.1.scale": (2, 3), "data.samples_per_gpu": 4})

    assert config.data.train.pipeline[1].scale == (2, 3)
    assert config.data.samples_per_gpu == 4


def test_options_are_left_as_they_are(tmp_path: Path) -> None:
    options: dict[str, object] = {"model": {"_delete_": True, "depth": 18}}

    config = load_config(write(tmp_path, "config.py", "model = dict(width=1)"), options)

    assert config.model == {"depth": 18}
    assert options == {"model": {"_delete_": True, "depth": 18}}


def test_an_option_may_set_a_key_of_the_dialect_that_the_file_has_not(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "config.py", "a = 1"), {"seed": 3}).seed == 3


def test_option_for_an_unknown_key_says_which_was_meant(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "model = dict(depth=18)")

    message = refusal(path, {"modle.depth": 50})

    assert message == f"config {path}: option 'modle.depth': there is no key 'modle'; did you mean 'model'?"


def test_option_beyond_the_end_of_a_list_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "data = [1, 2]")

    assert "option data.7=1: KeyError: Index 7 exceeds" in refusal(path, {"data.7": 1})


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.py") == f"config {tmp_path}/none.py: no such file"


def test_missing_base_is_named_with_the_file_that_wants_it(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "_base_ = ['none.py']")

    assert refusal(path) == f"config {tmp_path}/none.py (a _base_ of {path}): no such file"


def test_a_class_of_another_project_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = "from not_there.datasets import CocoDataset\ntrain_dataloader = dict(dataset=dict(type=CocoDataset))\n"
    path = write(tmp_path, "config.py", text)

    message = refusal(path)
    assert message.startswith(f"config {path}: Failed to import not_there.datasets in {path}, line 1")
    assert message.endswith("say the type by its name, in quotes, and bases in _base_")


def test_a_file_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "_base_ = 'config.py'")

    assert refusal(path) == f"config {path}: is its own _base_"


def test_foreign_suffix_is_refused(tmp_path: Path) -> None:
    assert "a config ends in .py" in refusal(write(tmp_path, "config.toml", ""))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [("c.py", "a = 1\nb = (\n", 2), ("c.json", '{"a": 1,\n "b"}', 2), ("c.yaml", "a: 1\nb: [\n", 3)],
)
def test_syntax_error_is_named_with_file_and_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    path = write(tmp_path, name, text)

    assert refusal(path).startswith(f"config {path}:{line}: ")


def test_syntax_error_in_a_base_names_the_base(tmp_path: Path) -> None:
    base = write(tmp_path, "base.py", "a = = 1")
    path = write(tmp_path, "config.py", "_base_ = 'base.py'")

    assert refusal(path).startswith(f"config {base}:1: ")


def test_error_of_a_config_that_runs_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "a = 1\nb = data_rot + 'train/'")

    assert refusal(path) == f"config {path}:2: NameError: name 'data_rot' is not defined"


def test_a_key_in_two_bases_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one.py", "model = dict(depth=18)")
    write(tmp_path, "two.py", "model = dict(depth=50)")
    path = write(tmp_path, "config.py", "_base_ = ['one.py', 'two.py']")

    assert refusal(path) == f"config {path}: Duplicate key is not allowed among bases. Duplicate keys: {{'model'}}"


def test_failed_custom_import_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "custom_imports = dict(imports=['no_such_module_of_ours'])")

    assert "no_such_module_of_ours" in refusal(path)


def test_without_mmengine_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmengine.config", None)

    assert "pip install 'asyncio-loader[train]'" in refusal(write(tmp_path, "config.py", "a = 1"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("true", True),
        ("None", None),
        ("s3://bucket/key", "s3://bucket/key"),
        ("1,a", [1, "a"]),
        ("[(1, 2), x]", [(1, 2), "x"]),
        ("a=b", "a=b"),
    ],
)
def test_option_values_are_read_as_mmcv_reads_them(text: str, value: object) -> None:
    assert parse_cfg_options([f"k={text}"]) == {"k": value}


@pytest.mark.parametrize("item", ["k", "=1", "k=[1,2"])
def test_malformed_option_is_quoted(item: str) -> None:
    with pytest.raises(ConfigError, match="--cfg-options"):
        parse_cfg_options([item])


READY = "faster_rcnn_r50_fpn_1x_coco_s3"


def test_a_ready_config_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    config = load_config(READY)

    assert Path(config.filename) == ready_configs()[READY]
    assert config.model.backbone.depth == 50


def test_every_ready_config_has_a_name_of_its_own() -> None:
    pipelines = Path(__file__).parents[2] / "pipelines"

    assert sorted(path.stem for path in pipelines.rglob("*.py")) == list(ready_configs())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.py", f"_base_ = {READY!r}\nseed = 3"),
        ("c.py", f"name = {READY[:5]!r}\n_base_ = [{READY[:5]!r} + {READY[5:]!r}]\nseed = 3"),
        ("c.yaml", f"_base_: [{READY}]\nseed: 3\n"),
    ],
)
def test_a_ready_config_is_a_base_by_its_name(tmp_path: Path, name: str, text: str) -> None:
    config = load_config(write(tmp_path, name, text))

    assert (config.seed, config.model.backbone.depth) == (3, 50)


def test_a_base_with_a_directory_or_a_suffix_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", "schedule_1x.py", "optimizer = dict(type='Mine')")

    assert load_config(write(tmp_path, "a.py", "_base_ = 'parts/schedule_1x.py'")).optimizer == {"type": "Mine"}
    assert "no such file" in refusal(write(tmp_path, "b.py", "_base_ = 'schedule_1x.py'"))


@pytest.mark.parametrize("text", ["pass", "raise ValueError('x')"])
def test_mmengine_finds_files_as_ever_after_a_config_is_read(tmp_path: Path, text: str) -> None:
    from mmengine.config import Config

    before = Config.__dict__["_get_cfg_path"]
    path = write(tmp_path, "config.py", text)

    with nullcontext() if text == "pass" else pytest.raises(ConfigError):
        load_config(path)

    assert Config.__dict__["_get_cfg_path"] is before


def test_a_config_may_read_another(tmp_path: Path) -> None:
    lines = (
        "import importlib",
        "_base_ = 'schedule_1x'",
        f"depth = importlib.import_module('asyncio_loader.config').load_config({READY!r}).model.backbone.depth",
    )

    assert load_config(write(tmp_path, "config.py", "\n".join(lines))).depth == 50


def test_an_unknown_name_says_what_is_near_and_where_all_are() -> None:
    message = refusal(Path("faster_rcnn_r50_fpn_1x_coco"))

    assert message.startswith("config faster_rcnn_r50_fpn_1x_coco: no such file, and no ready config has this name")
    assert f"did you mean {READY}, " in message
    assert message.endswith("(asyncio-loader train --list shows them)")


@pytest.mark.parametrize("base", ["../_base_/schedule_1x.py", "schedule_1x.py"])
def test_a_base_that_is_a_ready_config_but_for_its_directory_or_suffix_is_told_the_name(
    base: str, tmp_path: Path
) -> None:
    message = refusal(write(tmp_path, "config.py", f"_base_ = {base!r}"))

    assert message.endswith("no such file; the ready config of this name is 'schedule_1x', as it stands")


def test_an_unknown_base_says_what_is_near(tmp_path: Path) -> None:
    path = write(tmp_path, "config.py", "_base_ = 'shedule_1x'")

    assert refusal(path).startswith(f"config {tmp_path}/shedule_1x (a _base_ of {path}): no such file, and no ready")
    assert "did you mean schedule_1x, schedule_1x_mmdet3?" in refusal(path)


def test_an_installation_without_ready_configs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "__file__", str(tmp_path / "asyncio_loader" / "config.py"))

    with pytest.raises(ConfigError, match=r"neither in .*/asyncio_loader nor beside it: install again"):
        # Behind the cache.
        ready_configs.__wrapped__()


def test_a_name_like_no_other_only_says_where_all_are() -> None:
    assert "did you mean" not in refusal(Path("zzz"))
