"""Entries of a config that mean the same in mmdet 2.x and 3.x, wherever they stand."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.schedule import Schedule
from asyncio_loader.training.sections import Section

__all__ = [
    "FILENAMES",
    "LOG_SUFFIXES",
    "check_unit",
    "read_custom_hooks",
    "read_filename",
    "read_log_level",
    "read_metric",
    "read_texts",
    "read_trusted_checkpoints",
    "read_weights_client",
]

FILENAMES = {True: "epoch_{}.pth", False: "iter_{}.pth"}
"""Of checkpoints of a run by epochs, and by iterations."""

LOG_SUFFIXES = (".log", ".json", ".py", ".yaml", ".jsonl")
"""What mmengine writes: the log, the scalars, the config, and copies of these for visualizers. And the quarantine
file."""

_METRICS = ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l"]
_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def read_metric(section: Section, prefix: str = "") -> str | None:
    """`save_best`: the metric whose best checkpoint is kept. Its name may begin with `prefix`, ``coco/`` in 3.x."""
    if not section.has("save_best"):
        return None
    names = [*_METRICS, *(f"{prefix}{name}" for name in _METRICS if prefix)]
    choice: str = section.choice("save_best", ["bbox", "auto", *names])
    return "bbox_mAP" if choice in ("bbox", "auto") else choice.removeprefix(prefix)


def read_filename(section: Section, by_epoch: bool) -> str:
    """`filename_tmpl` of checkpoints."""
    filename = section.text("filename_tmpl") if section.has("filename_tmpl") else FILENAMES[by_epoch]
    # Any other brace would fail, or vanish, when the name is made.
    if "{}" not in filename or {"{", "}", "/"} & set(filename.replace("{}", "", 1)):
        raise section.error("filename_tmpl", "must be the name of a file with one {} for the steps")
    return filename


def check_unit(section: Section, schedule: Schedule) -> None:
    """`by_epoch` of a section is that of the run."""
    unit = "epochs" if schedule.by_epoch else "iterations"
    section.choice("by_epoch", [schedule.by_epoch], schedule.by_epoch, why=f"the runner counts {unit}")


def read_texts(section: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A string, or a list of them."""
    values = section.take(key, default)
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) and value for value in values):
        raise section.error(key, "must be a list of non-empty strings")
    return tuple(values)


def read_trusted_checkpoints(top: Section) -> tuple[str, ...]:
    """`trusted_checkpoints` at the top."""
    return read_texts(top, "trusted_checkpoints", ())


def read_log_level(top: Section) -> str:
    """`log_level` at the top."""
    level: str = top.choice("log_level", _LEVELS, "INFO")
    return level


def read_custom_hooks(top: Section) -> list[dict[str, Any]]:
    """`custom_hooks` at the top, without mmdet's count of classes, which is done anyway."""
    # Importing its module is what registers a hook.
    import mmengine.hooks  # noqa: F401
    from mmengine.registry import HOOKS

    known = {"NumClassCheckHook", *HOOKS.module_dict}
    hooks = []
    for place, values in enumerate(top.take("custom_hooks", None) or []):
        with Section(values, f"custom_hooks[{place}]") as section:
            kind = section.take("type")
            section.ignore("priority")
            if isinstance(kind, str):
                section.choice("type", sorted(known))
                section.ignore(*_parameters(HOOKS.module_dict.get(kind)))
            else:
                section.ignore(*_parameters(kind))
        if values["type"] != "NumClassCheckHook":
            hooks.append(dict(values))
    return hooks


def _parameters(kind: object) -> list[str]:
    return list(inspect.signature(kind).parameters) if callable(kind) else []


def read_weights_client(top: Section, key: str) -> FileClient | None:
    """From the variable at the top that configs of the dialect have for all their data, if it is about S3.

    Args:
        top: the config.
        key: `file_client_args` or, in 3.x, `backend_args`.
    """
    arguments = top.take(key, None)
    if not isinstance(arguments, Mapping) or arguments.get("backend", arguments.get("prefix")) not in ("aws", "s3"):
        return None
    return FileClient(**arguments)
