"""`train_dataloader`, `val_dataloader` and `test_dataloader` of a config of mmdet 3.x."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from asyncio_loader.datasets.coco import CocoDataset
from asyncio_loader.training.sections import Section

__all__ = ["DataloaderKeys", "data_set_arguments", "known_arguments", "read_dataloader"]

# What the run decides, not the config.
_OWN = (
    "self",
    "seed",
    "batch_size",
    "shuffle",
    "test_mode",
    "drop_last",
    "group_by_aspect",
    "order",
    "epochs",
    "trace",
)

# How 3.x says what 2.x calls so.
_OF_2X = {
    "img_prefix": "data_prefix=dict(img=…)",
    "seg_prefix": "data_prefix=dict(seg=…)",
    "classes": "metainfo=dict(classes=…)",
    "filter_empty_gt": "filter_cfg=dict(filter_empty_gt=…)",
    "file_client_args": "backend_args=…",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataloaderKeys:
    """What a dataloader's keys say.

    Attributes:
        batch_size: images per batch of a rank.
        thread_count: threads that decode and transform (`num_workers`, at least 1).
        shuffles: whether the order is shuffled.
        drop_last: whether the last, short batch is left out.
        groups_by_aspect: whether batches are of one orientation.
        data_set: the data set, not read yet.
    """

    batch_size: int
    thread_count: int
    shuffles: bool
    drop_last: bool
    groups_by_aspect: bool
    data_set: Section


def read_dataloader(top: Section, split: str) -> DataloaderKeys:
    """The dataloader of ``"train"``, ``"val"`` or ``"test"``; all but the first are of every image once, in order.

    Raises:
        ConfigError: a key or value is wrong; names its dotted path.
    """
    with top.section(f"{split}_dataloader") as section:
        batch_size = section.count("batch_size", least=1)
        shuffles = _read_sampler(section, is_training=split == "train")
        groups, drops = _read_batch_sampler(section)
        drops = section.flag("drop_last", drops)
        if split != "train" and (groups or drops):
            key = "batch_sampler" if groups else "drop_last"
            raise section.error(key, ": an evaluation is of every image, in order")
        section.choice("collate_fn", [None, {"type": "pseudo_collate"}], None, why="batches are made for this model")
        # There are no worker processes, and memory is pinned where there is a GPU.
        section.ignore("persistent_workers", "pin_memory", "prefetch_factor", "timeout", "multiprocessing_context")
        return DataloaderKeys(
            batch_size=batch_size,
            thread_count=max(1, section.count("num_workers", 1)),
            shuffles=shuffles,
            drop_last=drops,
            groups_by_aspect=groups and batch_size > 1,
            data_set=section.section("dataset"),
        )


def _read_sampler(section: Section, *, is_training: bool) -> bool:
    if not section.has("sampler"):
        return is_training
    with section.section("sampler") as sampler:
        sampler.choice("type", ["DefaultSampler", "InfiniteSampler"])
        sampler.fixed("the seed of the order is randomness.seed", seed=None)
        # Epochs are of each image once; the last step is padded where there are several ranks.
        sampler.ignore("round_up")
        shuffles = sampler.flag("shuffle", True)
        if shuffles and not is_training:
            raise sampler.error("shuffle", "must be False: an evaluation is of every image, in order")
        return shuffles


def _read_batch_sampler(section: Section) -> tuple[bool, bool]:
    """Whether batches are of one orientation, and whether short ones are left out."""
    if not section.has("batch_sampler"):
        return False, False
    with section.section("batch_sampler") as sampler:
        sampler.choice("type", ["AspectRatioBatchSampler"])
        return True, sampler.flag("drop_last", False)


def data_set_arguments(section: Section) -> dict[str, Any]:
    """Arguments for a `CocoDataset` of mmdet 3.x; those that the run decides are not among them.

    Raises:
        ConfigError: a key is unknown, or one of 2.x; names its dotted path.
    """
    for key, replacement in _OF_2X.items():
        if section.has(key):
            raise section.error(key, f"is a key of mmdet 2.x: in 3.x say {replacement}")
    with section:
        section.choice("type", ["CocoDataset"])
        # `test_mode` is said by the split, and the annotations are one compact index anyway.
        section.ignore("test_mode", "serialize_data", "lazy_init", "max_refetch", *_OF_2X)
        arguments = {name: section.take(name) for name in known_arguments(leave_out=_OF_2X) if section.has(name)}
    # It is what makes the samples those of 3.x.
    return {"data_prefix": {}, **arguments}


def known_arguments(leave_out: Iterable[str] = ()) -> list[str]:
    """What a config may say of a `CocoDataset`."""
    return [name for name in inspect.signature(CocoDataset).parameters if name not in (*_OWN, *leave_out)]
