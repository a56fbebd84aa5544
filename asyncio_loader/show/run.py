"""``asyncio-loader show``: load a config as `train` does, take the first samples, draw them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.naming import named
from asyncio_loader.pictures.sheet import write_sheet
from asyncio_loader.show.drawing import draw_sample, legend_of
from asyncio_loader.show.sample import ShownSample, read_sample
from asyncio_loader.training.datasets import DetectionSet, build_dataset, build_loader
from asyncio_loader.training.dialect import dialect_of
from asyncio_loader.training.out_dirs import check_writable
from asyncio_loader.training.translate import translate_data

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ["show"]

# In rows of four, each some 450 pixels high: JPEG ends at 65,535, and so do many programs that show a PNG.
_MOST_SAMPLES = 400


def show(config: Config, *, split: str, count: int, out: Path | None) -> str:
    """Write a contact sheet of what the model gets.

    Args:
        config: from `load_config`; of it, the data of the split are needed, and no model.
        split: ``"train"``, ``"val"`` or ``"test"``: of `data`, in 3.x of ``train_dataloader`` and so on.
        count: samples, the first ones in the order of epoch 0, at most 400; fewer where there are no more.
        out: the PNG; its directory is made. None: ``show_<split>.png`` in the config's `work_dir`, else in
            ``work_dirs/<name of the config>``.

    Returns:
        One line about what was written where.

    Raises:
        ConfigError: something in the config is wrong, or `out` is no PNG; names the config file, the dotted path and
            the value.
        LoaderError: data could not be had, or not be transformed; names the config file and the key, too.

    However it ends, connections and threads are closed then.
    """
    stem = Path(config.filename).stem if config.filename else "run"
    path = out or Path(config.get("work_dir") or Path("work_dirs", stem)) / f"show_{split}.png"
    if count > _MOST_SAMPLES:
        raise ConfigError(
            f"-n {count} must be at most {_MOST_SAMPLES}: a larger picture is too large for many programs"
        )
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--out {str(path)!r} must be the name of a .png")
    # First of all: it would be a pity to find out after the data has been read.
    check_writable(path.parent, "--out")
    with named(config.filename):
        values = config.to_dict()
        samples, total = _first_samples(values, split, count)
    which = "sample" if len(samples) == 1 else f"{len(samples)} samples"
    what = f"{dialect_of(values).data_set(split)}, the first {which} of {total:,} in the order of epoch 0"
    boxes = "" if any(sample.boxes is not None for sample in samples) else "; this pipeline gives the model no boxes"
    title = f"{stem}: {what}{boxes}"
    write_sheet(title, legend_of(samples), [draw_sample(sample) for sample in samples], path)
    return f"{path}: {what}{boxes}"


def _first_samples(config: Mapping[str, Any], split: str, count: int) -> tuple[list[ShownSample], int]:
    """They, and how many there are."""
    plan = translate_data(config, split)
    dataset = build_dataset(config, split, seed=plan.seed, batch_size=plan.batch_size)
    _spare(dataset, count)
    samples: list[ShownSample] = []
    at_data_set = named(plan.dialect.data_set(split))
    with build_loader(dataset, plan.batch_size, plan.thread_count, as_float=False) as loader, at_data_set:
        for images, targets in loader:
            for image, target in zip(images, targets, strict=True):
                samples.append(read_sample(image, target, dataset.index.cat_names))
            if len(samples) >= count:
                break
    return samples[:count], len(dataset.index)


def _spare(dataset: DetectionSet, count: int) -> None:
    """Fetch no more than is shown, by much: this neither changes the order nor the samples."""
    dataset.epochs = 1
    window = min(dataset.options.window_items, max(count, dataset.batch_size))
    dataset.options = dataclasses.replace(dataset.options, window_items=window)
