"""The data sets of a config, and loaders for training and validation."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from asyncio_loader.datasets.coco import CocoDataset
from asyncio_loader.datasets.collate import collate_detection
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.datasets.location import read_file
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.naming import named
from asyncio_loader.training.dataloaders import data_set_arguments, known_arguments, read_dataloader
from asyncio_loader.training.dialect import dialect_of
from asyncio_loader.training.schedule import Schedule
from asyncio_loader.training.sections import Section
from asyncio_loader.transforms.base import Compose
from asyncio_loader.transforms.three import as_client_args
from asyncio_loader.transforms.tta import MultiScaleFlipAug, TestTimeAug

__all__ = [
    "DetectionSet",
    "annotation_reader",
    "build_dataset",
    "build_loader",
    "check_classes",
    "expect_epochs",
    "keep_quarantine",
]


class DetectionSet(CocoDataset):
    """A `CocoDataset` as mmengine's loops like it."""

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names of the classes, in the order of the labels; kept in every checkpoint."""
        return {"classes": tuple(self.index.cat_names)}


def build_dataset(config: Mapping[str, Any], split: str, *, seed: int, batch_size: int) -> DetectionSet:
    """The data set of `data.train`, `data.val` or `data.test`, in 3.x of `train_dataloader` and so on.

    All but the first are in test mode. Batches to train on are of one orientation: as mmdet 2.x makes them, unless
    `data.group_by_aspect` is False; in 3.x where the config has an AspectRatioBatchSampler.

    Raises:
        ConfigError: a key or value is wrong, or a file is none of its kind; names ``data.<split>`` or
            ``<split>_dataloader.dataset``.
        FetchError: the annotation file could not be had.
    """
    dialect = dialect_of(config)
    is_training = split == "train"
    read = _arguments_3x if dialect.is_3x else _arguments_2x
    arguments = read(Section(config), split, batch_size)
    with _named(dialect.data_set(split)):
        data_set = DetectionSet(
            **arguments,
            test_mode=not is_training,
            seed=seed,
            batch_size=batch_size,
            # A set that is only evaluated has one: always the same.
            epochs=None if is_training else 1,
        )
        _check_looks(data_set.pipeline)
    return data_set


def _check_looks(pipeline: Compose) -> None:
    """The first evaluation would find it out, which may be hours later."""
    for transform in pipeline.transforms:
        if isinstance(transform, MultiScaleFlipAug | TestTimeAug) and transform.look_count > 1:
            raise ConfigError(
                f"pipeline: {type(transform).__name__} takes {transform.look_count} looks at each image, and this "
                "model one: give it one scale and one way to flip"
            )


def _arguments_2x(top: Section, split: str, batch_size: int) -> dict[str, Any]:
    data = top.section("data")
    is_grouped = data.flag("group_by_aspect", True) and split == "train" and batch_size > 1
    with data.section(split) as section:
        section.choice("type", ["CocoDataset"])
        section.ignore("test_mode")
        arguments = {name: section.take(name) for name in known_arguments() if section.has(name)}
    return {**arguments, "group_by_aspect": is_grouped}


def _arguments_3x(top: Section, split: str, batch_size: int) -> dict[str, Any]:
    keys = read_dataloader(top, split)
    order = {"group_by_aspect": keys.groups_by_aspect, "drop_last": keys.drop_last}
    return {**data_set_arguments(keys.data_set), **order, "shuffle": keys.shuffles}


def build_loader(
    dataset: CocoDataset,
    batch_size: int,
    thread_count: int,
    *,
    as_float: bool = True,
    device: str | None = None,
    progress: bool | str = False,
) -> Loader:
    """Batches of `collate_detection`, made by threads of this process. Close it.

    `as_float`: see `collate_detection`; `device` and `progress`: see `Loader`.
    """
    collate = partial(collate_detection, as_float=as_float)
    return Loader(dataset, batch_size, threads=thread_count, collate=collate, device=device, progress=progress)


def expect_epochs(loader: Loader, schedule: Schedule) -> None:
    """Tell the dataset of a loader how many epochs come: it begins the next one early, and none after the last."""
    plan = loader.dataset.plan(loader.batch_size)
    loader.dataset.epochs = schedule.length if schedule.by_epoch else plan.epochs_after(schedule.length)


def keep_quarantine(dataset: AsyncIterableDataset, path: Path) -> None:
    """Have samples that fail written to a file, unless the config names another. See `datasets.quarantine`."""
    if dataset.failure_rules.quarantine is None:
        dataset.failure_rules = dataclasses.replace(dataset.failure_rules, quarantine=str(path))


def check_classes(dataset: CocoDataset, class_count: int, path: str = "data.train") -> None:
    """The model has as many classes as the dataset, which is at `path`, was asked for (mmdet's `NumClassCheckHook`).

    Raises:
        ConfigError: it does not.
    """
    names = dataset.index.classes or dataset.index.cat_names
    if len(names) != class_count:
        raise ConfigError(
            f"model.roi_head.bbox_head.num_classes={class_count}, but {path} has {len(names)} classes: "
            f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        )


def annotation_reader(config: Mapping[str, Any], dataset: DetectionSet, split: str) -> Callable[[], bytes]:
    """A function that reads the annotation file of a split anew: an index in test mode keeps no boxes."""
    keys = dialect_of(config).find_data_set(config, split)
    arguments = as_client_args(keys.get("file_client_args"), keys.get("backend_args"))
    return lambda: read_file(dataset.index.source, arguments)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        with named(path):
            yield
    except LoaderError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: {error.filename}: {error.strerror}") from error
