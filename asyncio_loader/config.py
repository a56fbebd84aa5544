"""Config files of the OpenMMLab dialect: Python, JSON or YAML, with `_base_`, `_delete_` and `{{ fileDirname }}`.

The reading itself is mmengine's (extra `train`); what is ours is that everything wrong with a file becomes one line
that says where.
"""

from __future__ import annotations

import ast
import copy
import difflib
import functools
import json
import os
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.hints import did_you_mean

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ["TOP_LEVEL_KEYS", "load_config", "parse_cfg_options", "ready_configs"]

TOP_LEVEL_KEYS = frozenset(
    {
        "auto_scale_lr",
        "custom_hooks",
        "custom_imports",
        "load_from",
        "log_level",
        "model",
        "work_dir",
        # mmdet 2.x
        "checkpoint_config",
        "data",
        "deterministic",
        "dist_params",
        "evaluation",
        "fp16",
        "log_config",
        "lr_config",
        "mp_start_method",
        "opencv_num_threads",
        "optimizer",
        "optimizer_config",
        "resume_from",
        "runner",
        "seed",
        "workflow",
        # mmdet 3.x
        "default_hooks",
        "default_scope",
        "env_cfg",
        "log_processor",
        "optim_wrapper",
        "param_scheduler",
        "randomness",
        "resume",
        "test_cfg",
        "test_dataloader",
        "test_evaluator",
        "train_cfg",
        "train_dataloader",
        "val_cfg",
        "val_dataloader",
        "val_evaluator",
        "visualizer",
    }
)
"""The keys of a detection config of mmdet 2.x or 3.x that mean something to training; all others are a user's
variables."""

_SUFFIXES = (".py", ".json", ".yaml", ".yml")

# mmengine quotes whole pipelines in its messages.
_REASON_CHARS = 200

# How much alike names must be (`difflib`): the names are long, and `faster_rcnn` alone should find some.
_NEAR = 0.5

# A config may itself read another: reentrant.
_ONE_AT_A_TIME = threading.RLock()


def load_config(path: str | os.PathLike[str], cfg_options: Mapping[str, object] | None = None) -> Config:
    """Read a config file and everything it is based on.

    `path` and every `_base_` may be the name of a ready config (`ready_configs`) where there is no such file.
    `_base_` files are merged first, in order; the file's own dicts merge into theirs and everything else, lists
    included, replaces theirs. `cfg_options` come last: dotted keys, an index for a place in a list
    (``{"data.train.pipeline.2.img_scale": (640, 480)}``).

    A Python config is a program and runs as one: read only those you trust.

    Raises:
        ConfigError: mmengine is not installed, a file is missing or broken, a key stands in two bases, or an option
            points nowhere. One line that names the file and, where there is one, the line.

    Safe from any thread; threads that read at once take turns.
    """
    path = _find(Path(path))
    _check_files(path, seen=())
    config = _read(path)
    if cfg_options:
        _merge_options(config, cfg_options, path)
    try:
        _drop_delete_marks(config._cfg_dict)
    except ImportError as error:
        # In mmengine's new style (`with read_base():`) a name is imported when its value is looked at.
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"config {path}: {reason}: say the type by its name, in quotes, and bases in _base_"
        ) from error
    return config


@functools.cache
def ready_configs() -> Mapping[str, Path]:
    """The configs that come with the package, by the names that stand for them: file names without ``.py``, sorted.

    Those in a directory `_base_` are parts, for the `_base_` of a config: a model, a data set, a schedule.

    Raises:
        ConfigError: they are missing, so the installation is not whole.
    """
    package = Path(__file__).parent
    # Installed they lie inside of the package; in a checkout `pipelines` stands beside it.
    for directory in (package / "pipelines", package.parent / "pipelines"):
        if directory.is_dir():
            return MappingProxyType({path.stem: path for path in sorted(directory.rglob("*.py"), key=_stem)})
    raise ConfigError(f"the ready configs, pipelines, are neither in {package} nor beside it: install again")


def _stem(path: Path) -> str:
    return path.stem


def parse_cfg_options(items: Iterable[str]) -> dict[str, object]:
    """``key=value`` pairs of a command line as `load_config` takes them.

    A value reads as int, float, bool or None where it can, else as text; ``a,b``, ``[a,b]`` and ``(a,b)`` nest; spaces
    are dropped (mmcv's `DictAction`).

    Raises:
        ConfigError: no ``=``, no key, or brackets that don't match.
    """
    options: dict[str, object] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"--cfg-options {item!r} is not of the form key=value")
        try:
            options[key] = _mmengine_config().DictAction._parse_iterable(value)
        except AssertionError as error:
            raise ConfigError(f"--cfg-options {item!r}: brackets don't match") from error
    return options


def _mmengine_config() -> Any:
    try:
        import mmengine.config
    except ImportError as error:
        raise ConfigError(f"config files need mmengine ({error}): pip install 'asyncio-loader[train]'") from error
    return mmengine.config


def _read(path: Path) -> Any:
    mmengine_config = _mmengine_config()
    try:
        with _ready_bases(mmengine_config.Config):
            return mmengine_config.Config.fromfile(str(path))
    except ConfigError:
        raise
    # A config is a program: it may raise anything.
    except Exception as error:
        refusal = ConfigError(f"config {_place(error, path)}: {_reason(error)}")
        with warnings.catch_warnings():
            # mmengine leaves its temporary copy of a file that raised open, in a frame of the traceback.
            warnings.simplefilter("ignore", ResourceWarning)
            traceback.clear_frames(error.__traceback__)
        raise refusal from error


@contextmanager
def _ready_bases(config_class: Any) -> Iterator[None]:
    """Have mmengine find a `_base_` by the name of a ready config; it offers no other way to say where one is.

    What another thread reads with mmengine itself meanwhile is found as ever: a name counts only if no file has it.
    """
    with _ONE_AT_A_TIME:
        before = config_class.__dict__["_get_cfg_path"]

        def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
            found, scope = before.__func__(cfg_path, filename)
            return str(_find(Path(found), cfg_path)), scope

        config_class._get_cfg_path = staticmethod(get_cfg_path)
        try:
            yield
        finally:
            config_class._get_cfg_path = before


def _find(path: Path, wanted: str | None = None) -> Path:
    """`path`, or the ready config that `wanted` (`path` by default) names if no file does."""
    name = str(path) if wanted is None else wanted
    return path if path.is_file() or not _is_name(name) else ready_configs().get(name, path)


def _is_name(text: str) -> bool:
    """Whether it can be the name of a ready config: neither a directory nor a suffix."""
    return Path(text).name == text and not Path(text).suffix


def _near_ready(name: str) -> str:
    """What to say of a name that no ready config has, or that has more to it than that of a ready config."""
    stem = Path(name).stem
    if not _is_name(name):
        return f"; the ready config of this name is {stem!r}, as it stands" if stem in ready_configs() else ""
    near = difflib.get_close_matches(name, ready_configs(), n=3, cutoff=_NEAR)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f", and no ready config has this name{hint} (asyncio-loader train --list shows them)"


def _reason(error: Exception) -> str:
    """What went wrong, on one line."""
    if isinstance(error, ImportError) and isinstance(error.__cause__, ImportError):
        # mmengine wraps a failed `custom_imports` into a page of sys.path.
        return f"custom_imports: {error.__cause__}"
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    message = " ".join(message.split())
    if isinstance(error, KeyError) and message.startswith("Duplicate key"):
        return message
    if len(message) > _REASON_CHARS:
        message = message[:_REASON_CHARS] + "…"
    return f"{type(error).__name__}: {message}"


def _place(error: Exception, path: Path) -> str:
    """``file:line`` of the last config file on the way to the error, else the file that was asked for."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "<module>"]
    frames = [f for f in frames if f.filename.endswith(".py") and "site-packages" not in f.filename]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(path)


def _check_files(path: Path, seen: tuple[Path, ...], wanted: str | None = None) -> None:
    """Every file of the chain is there and parses. mmengine itself names neither file nor line of a syntax error."""
    if not path.is_file():
        wanted_by = f" (a _base_ of {seen[-1]})" if seen else ""
        missing = "a directory" if path.is_dir() else "no such file"
        raise ConfigError(f"config {path}{wanted_by}: {missing}{_near_ready(wanted or str(path))}")
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"config {path}: a config ends in {', '.join(_SUFFIXES)}")
    here = path.resolve()
    if here in seen:
        raise ConfigError(f"config {path}: is its own _base_")
    for base in _bases(path):
        if "::" not in base and "{{" not in base:
            _check_files(_find(path.parent / base, base), (*seen, here), base)


def _bases(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
        bases = _python_bases(text) if path.suffix == ".py" else _data_bases(text, path.suffix)
    except SyntaxError as error:
        raise ConfigError(f"config {path}:{error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str):
            raise ConfigError(f"config {path}: _base_={base!r} must be a path or a list of paths")
        yield base


def _python_bases(text: str) -> Any:
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                # An expression: mmengine evaluates it.
                return []
    return []


def _data_bases(text: str, suffix: str) -> Any:
    if suffix == ".json":
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise SyntaxError(error.msg, ("", error.lineno, error.colno, None)) from error
    else:
        values = _load_yaml(text)
    if isinstance(values, dict):
        return values.get("_base_", [])
    raise SyntaxError("the top level must be a mapping of keys", ("", 1, 1, None))


def _load_yaml(text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(f"YAML configs need PyYAML ({error}): pip install 'asyncio-loader[train]'") from error
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SyntaxError(error.problem or "not YAML", ("", line, 1, None)) from error


def _merge_options(config: Any, cfg_options: Mapping[str, object], path: Path) -> None:
    for key, value in cfg_options.items():
        top = key.partition(".")[0]
        if top not in config and top not in TOP_LEVEL_KEYS:
            near = did_you_mean(top, [*config.keys(), *TOP_LEVEL_KEYS])
            hint = f"; {near}" if near else ""
            raise ConfigError(f"config {path}: option {key!r}: there is no key {top!r}{hint}")
        try:
            # mmengine takes the mark `_delete_` out of the very dict it is given.
            config.merge_from_dict({key: copy.deepcopy(value)})
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"config {path}: option {key}={value!r}: {_reason(error)}") from error


def _drop_delete_marks(value: Any) -> None:
    """Remove `_delete_` where there was nothing in a base to delete: mmengine leaves it standing."""
    if isinstance(value, dict):
        value.pop("_delete_", None)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list | tuple):
            _drop_delete_marks(inner)
