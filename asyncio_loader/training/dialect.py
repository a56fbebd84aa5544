"""Which dialect of mmdet a config is written in, and what that calls the things that errors speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncio_loader.errors import ConfigError

__all__ = ["MMDET_2X", "MMDET_3X", "Dialect", "dialect_of"]

# Keys that a config of the other dialect has no use for, not even as a user's variable.
_ONLY_2X = (
    "data",
    "optimizer",
    "optimizer_config",
    "lr_config",
    "runner",
    "evaluation",
    "checkpoint_config",
    "log_config",
    "resume_from",
    "workflow",
    "fp16",
)
_ONLY_3X = (
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "val_evaluator",
    "test_evaluator",
    "optim_wrapper",
    "param_scheduler",
    "default_hooks",
    "env_cfg",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The names of a dialect.

    Attributes:
        is_3x: mmdet 3.x; else 2.x.
        batch_size: dotted path of the batch size to train with.
        rate: that of the learning rate.
        resume: that of the checkpoint to go on from.
        prefix: key of a data set for the directory of its images.
        needed: the sections without which there is no run.
    """

    is_3x: bool
    batch_size: str
    rate: str
    resume: str
    prefix: str
    needed: tuple[str, ...]

    def data_set(self, split: str) -> str:
        """Dotted path of the data set of a split, ``"train"``, ``"val"`` or ``"test"``."""
        return f"{split}_dataloader.dataset" if self.is_3x else f"data.{split}"

    def find_data_set(self, config: Mapping[str, Any], split: str) -> Mapping[str, Any]:
        """The data set of a split as the config has it; an empty one where it has none."""
        outer, _, inner = self.data_set(split).partition(".")
        return (config.get(outer) or {}).get(inner) or {}

    def check_sections(self, config: Mapping[str, Any]) -> None:
        """Refuse what is too little for a run, all that is missing at once.

        Raises:
            ConfigError: names the sections.
        """
        missing = [key for key in self.needed if config.get(key) is None]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise ConfigError(f"{', '.join(missing)} {verb} missing: a run takes {', '.join(self.needed)}")


MMDET_2X = Dialect(
    is_3x=False,
    batch_size="data.samples_per_gpu",
    rate="optimizer.lr",
    resume="resume_from",
    prefix="img_prefix",
    needed=("model", "data", "optimizer", "runner"),
)
MMDET_3X = Dialect(
    is_3x=True,
    batch_size="train_dataloader.batch_size",
    rate="optim_wrapper.optimizer.lr",
    resume="load_from",
    prefix="data_prefix",
    needed=("model", "train_dataloader", "train_cfg", "optim_wrapper"),
)


def dialect_of(config: Mapping[str, Any]) -> Dialect:
    """The dialect of a config, by the keys at its top that are not None; 2.x if there is none of either.

    Raises:
        ConfigError: there are some of both; names them.
    """
    old, new = ([key for key in keys if config.get(key) is not None] for keys in (_ONLY_2X, _ONLY_3X))
    if old and new:
        raise ConfigError(
            f"{', '.join(old)} of mmdet 2.x and {', '.join(new)} of 3.x: write the config, its _base_ included, in one "
            "dialect"
        )
    return MMDET_3X if new else MMDET_2X
