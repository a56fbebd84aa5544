"""From nothing to a trained detector: make data, put it into a bucket, train from there, look at what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import asyncio_loader
from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.config import load_config
from asyncio_loader.demo.contact_sheet import Box, Picture, draw_contact_sheet
from asyncio_loader.demo.screen import Advance, Screen
from asyncio_loader.errors import ConfigError
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.hooks import ProgressHook
from asyncio_loader.training.runner import TrainingReport, train

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ["run_demo"]

_CONFIG = "demo/faster_rcnn_r18_fpn_synthetic_s3.py"
_ROOT = "s3://demo-bucket/synthetic/"
_IMAGES, _VAL_IMAGES, _SIZE_PX = 320, 40, 160
# Many in an image: what it learns from is objects, what it costs is pixels.
_OBJECTS_PER_IMAGE = 3, 6
# PUTs at a time: moto answers some hundred per second, whatever one does.
_UPLOADS = 16
_SHOWN_IMAGES = 8
_SHOWN_SCORE = 0.5
_PASSING_AP50 = 0.5


def run_demo(*, keep: Path | None, steps: int | None, out: Path) -> bool:
    """Run it, and tell on standard output.

    Args:
        keep: directory for the data set, which stays; None: a temporary one.
        steps: of training; None: the config's.
        out: directory for picture, checkpoint and log.

    Returns:
        Whether it learned: an AP50 of at least 0.5.

    Raises:
        ConfigError: moto or the config is missing. LoaderError: as in `train`.

    However it ends, the server, its bucket and the temporary directory are gone then.
    """
    out.mkdir(parents=True, exist_ok=True)
    screen = Screen()
    start_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asyncio-loader-")))
        write_synthetic_coco(
            directory, images=_IMAGES, val_images=_VAL_IMAGES, size=_SIZE_PX, objects_per_image=_OBJECTS_PER_IMAGE
        )
        screen.say(f"made {_IMAGES} training and {_VAL_IMAGES} validation images in {directory}")
        server = stack.enter_context(MotoServer())
        stack.enter_context(_environment(server.environ))
        screen.say(f"started an S3 server: moto on {server.endpoint_url}")
        files = sorted(path for path in directory.rglob("*") if path.suffix in (".jpg", ".json"))
        with screen.progress(f"upload to {_ROOT}", len(files)) as advance:
            _upload(files, directory, advance)
        report = _train(_load_config(steps, server.endpoint_url), out, screen)
        sheet = draw_contact_sheet(_pictures(directory, report), out / "predictions.png")
    screen.table(f"{time.monotonic() - start_s:.0f} s in all", _summary(report, sheet))
    return _passed(report, screen)


def _load_config(steps: int | None, endpoint_url: str) -> Config:
    options: dict[str, object] = {}
    for split in ("data.train", "data.val"):
        # Said although the environment says it too: a file client that is shared in this process may know another.
        options |= {f"{split}.data_root": _ROOT, f"{split}.file_client_args.endpoint_url": endpoint_url}
    if steps is not None:
        options |= {
            "runner.max_iters": steps,
            "lr_config.step": [max(1, steps * 4 // 5)],
            "evaluation.interval": steps,
            "checkpoint_config.interval": steps,
        }
    return load_config(_pipelines() / _CONFIG, options)


def _pipelines() -> Path:
    """The ready configs: beside the package in a checkout, inside it where it was installed."""
    package = Path(asyncio_loader.__file__).parent
    for directory in (package / "pipelines", package.parent / "pipelines"):
        if (directory / _CONFIG).is_file():
            return directory
    raise ConfigError(f"the demo's config pipelines/{_CONFIG} is neither in {package} nor beside it")


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process for the length of the block: credentials are found nowhere else by design."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _upload(files: list[Path], directory: Path, advance: Advance) -> None:
    loop_thread = LoopThread("demo-upload")
    store = S3Store()

    async def put_all() -> None:
        await store.create_bucket(_ROOT)
        remaining, done = iter(files), itertools.count(1)

        async def put_some() -> None:
            for path in remaining:
                await store.put(_ROOT + path.relative_to(directory).as_posix(), path.read_bytes())
                advance(next(done), path.name)

        async with asyncio.TaskGroup() as group:
            for worker in range(_UPLOADS):
                group.create_task(put_some(), name=f"upload-{worker}")

    try:
        loop_thread.run(put_all())
    finally:
        loop_thread.close(store.aclose)


def _train(config: Config, out: Path, screen: Screen) -> TrainingReport:
    steps = config.runner.max_iters
    with screen.progress("train", steps) as advance:
        hook = ProgressHook(lambda step, loss: advance(step, f"loss {loss:.3f}"))
        # The log goes to a file in `out`; here the bar speaks.
        return train(config, work_dir=out, hooks=[hook], console=io.StringIO())


def _pictures(directory: Path, report: TrainingReport) -> list[Picture]:
    """The first validation images with true and predicted boxes, which come in the order of the annotation file."""
    document = json.loads((directory / "annotations" / "instances_val2017.json").read_text(encoding="utf-8"))
    names = [category["name"] for category in document["categories"]]
    name_of = {category["id"]: category["name"] for category in document["categories"]}
    pictures = []
    for image, found in list(zip(document["images"], report.detections, strict=True))[:_SHOWN_IMAGES]:
        own = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        boxes = [Box(_corners(a["bbox"]), name_of[a["category_id"]]) for a in own]
        predicted = zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True)
        boxes += [Box(tuple(box), names[label], score) for box, label, score in predicted if score >= _SHOWN_SCORE]
        pictures.append(Picture(directory / "val2017" / image["file_name"], boxes))
    return pictures


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height


def _summary(report: TrainingReport, sheet: Path) -> dict[str, str]:
    stats, losses = report.stats, report.losses
    first, last = (sum(part) / len(part) for part in (losses[:5], losses[-5:]))
    return {
        "images per second": f"{stats.samples / max(stats.elapsed_s, 1e-9):.1f}",
        "time waiting for data": f"{stats.wait_share:.1%}",
        "GETs": f"{stats.gets} ({stats.retries} retries)",
        "peak buffer": f"{stats.peak_window_bytes:,} bytes",
        "loss, first to last": f"{first:.3f} → {last:.3f} (means of 5 steps)",
        "AP50": f"{report.metrics['bbox_mAP_50']:.3f}",
        "true and predicted boxes": str(sheet),
        "checkpoint and log": str(report.work_dir),
    }


def _passed(report: TrainingReport, screen: Screen) -> bool:
    ap50 = report.metrics["bbox_mAP_50"]
    if ap50 >= _PASSING_AP50:
        return True
    screen.say(f"it did not learn: AP50 is {ap50:.3f}, below {_PASSING_AP50}")
    return False
