"""From nothing to a trained detector: make data, put it into a bucket, train from there and to there, look at it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asyncio_loader.config import load_config, ready_configs
from asyncio_loader.demo.bucket import DATA_ROOT, RUNS_ROOT, DemoBucket
from asyncio_loader.demo.contact_sheet import Box, Picture, draw_contact_sheet
from asyncio_loader.demo.screen import Screen
from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.environment import environment
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.hooks import ProgressHook
from asyncio_loader.training.runner import TrainingReport, train

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ["run_demo"]

_CONFIG = "faster_rcnn_r18_fpn_synthetic_s3"
_IMAGES, _VAL_IMAGES, _SIZE_PX = 320, 40, 160
# Many in an image: what it learns from is objects, what it costs is pixels.
_OBJECTS_PER_IMAGE = 3, 6
_SHOWN_IMAGES = 8
_SHOWN_SCORE = 0.5
_PASSING_AP50 = 0.5
# Of the steps: then the first run ends, and the second goes on from the checkpoint in the bucket.
_FIRST_PART = 0.8


def run_demo(*, keep: Path | None, steps: int | None, out: Path) -> bool:
    """Run it, and tell on standard output.

    Args:
        keep: directory for the data set, which stays; None: a temporary one.
        steps: of training, at least 2; None: the config's.
        out: directory for picture, last checkpoint and log.

    Returns:
        Whether it learned: an AP50 of at least 0.5.

    Raises:
        ConfigError: moto or the config is missing. LoaderError: as in `train`.

    However it ends, the server, its bucket and the temporary directory are gone then.
    """
    if steps is not None and steps < 2:
        raise ConfigError(f"--steps must be at least 2, one before the resume and one after it, not {steps}")
    out.mkdir(parents=True, exist_ok=True)
    screen = Screen()
    start_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asyncio-loader-")))
        directory = keep or scratch / "data"
        write_synthetic_coco(
            directory, images=_IMAGES, val_images=_VAL_IMAGES, size=_SIZE_PX, objects_per_image=_OBJECTS_PER_IMAGE
        )
        screen.say(f"made {_IMAGES} training and {_VAL_IMAGES} validation images in {directory}")
        server = stack.enter_context(MotoServer())
        stack.enter_context(environment(server.environ))
        screen.say(f"started an S3 server: moto on {server.endpoint_url}")
        bucket = DemoBucket(server.endpoint_url)
        files = sorted(path for path in directory.rglob("*") if path.suffix in (".jpg", ".json"))
        with screen.progress(f"upload to {DATA_ROOT}", len(files)) as advance:
            bucket.upload(files, directory, advance)
        # As if on two machines: all that the second run gets of the first lies in the bucket.
        report, pause = _train_twice(bucket, scratch / "first" / out.name, out, steps, screen)
        bucket.fetch(_last_checkpoint(out), out)
        sheet = draw_contact_sheet(_pictures(directory, report), out / "predictions.png")
        rows = _summary(report, pause, bucket.files(), sheet)
    screen.table(f"{time.monotonic() - start_s:.0f} s in all", rows)
    return _passed(report, screen)


def _train_twice(
    bucket: DemoBucket, first: Path, second: Path, steps: int | None, screen: Screen
) -> tuple[TrainingReport, int]:
    """Train a part of the steps, and the rest from the checkpoint that this left in the bucket. Its steps, too."""
    config = _load_config(bucket, steps)
    total = config.runner.max_iters
    pause = max(1, int(total * _FIRST_PART))
    config.runner.max_iters = pause
    before = _train(config, first, total, screen)
    config.runner.max_iters = total
    config.resume_from = _last_checkpoint(first)
    screen.say(f"resume from {config.resume_from}")
    after = _train(config, second, total, screen)
    elapsed_s = before.elapsed_s + after.elapsed_s
    return dataclasses.replace(after, stats=before.stats + after.stats, elapsed_s=elapsed_s), pause


def _last_checkpoint(work_dir: Path) -> str:
    return (work_dir / "last_checkpoint").read_text(encoding="utf-8").strip()


def _load_config(bucket: DemoBucket, steps: int | None) -> Config:
    options: dict[str, object] = {
        "checkpoint_config.out_dir": RUNS_ROOT,
        "evaluation.out_dir": RUNS_ROOT,
        "log_config.hooks.0.out_dir": RUNS_ROOT,
    }
    places = ("data.train", "data.val", "checkpoint_config", "evaluation", "log_config.hooks.0")
    options |= {f"{place}.file_client_args": bucket.file_client_args for place in places}
    options |= {f"{split}.data_root": DATA_ROOT for split in ("data.train", "data.val")}
    if steps is not None:
        options |= {
            "runner.max_iters": steps,
            "lr_config.step": [max(1, int(steps * _FIRST_PART))],
            "evaluation.interval": steps,
            "checkpoint_config.interval": max(1, int(steps * _FIRST_PART) // 2),
        }
    return load_config(ready_configs()[_CONFIG], options)


def _train(config: Config, work_dir: Path, total: int, screen: Screen) -> TrainingReport:
    with screen.progress("train", total) as advance:
        hook = ProgressHook(lambda step, loss, scalars: advance(step, _note(loss, scalars)))
        # The log goes to a file in the work directory; here the line speaks.
        return train(config, work_dir=work_dir, hooks=[hook], console=io.StringIO())


def _note(loss: float, scalars: Mapping[str, float]) -> str:
    rate, waits = scalars["loader/samples_per_s"], scalars["loader/wait_share"]
    return f"loss {loss:.3f}  {rate:.1f} img/s  wait {waits:.0%}"


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


def _summary(report: TrainingReport, pause: int, files: list[str], sheet: Path) -> dict[str, str]:
    stats, losses = report.stats, report.losses
    checkpoints = [name for name in files if name.endswith(".pth")]
    return {
        "images per second": f"{stats.samples / max(stats.elapsed_s, 1e-9):.1f}",
        "time waiting for data": f"{stats.wait_share:.1%}",
        "GETs": f"{stats.gets} ({stats.retries} retries)",
        "peak buffer": f"{stats.peak_window_bytes:,} bytes",
        "loss, first to last": f"{_mean(losses[:5])} → {_mean(losses[-5:])} (means of 5 steps)",
        "AP50": f"{report.metrics['bbox_mAP_50']:.3f}",
        "resumed": f"at step {pause}: loss {_mean(losses[:pause][-5:])} before, {_mean(losses[pause:][:5])} after",
        f"in {RUNS_ROOT}": "\n".join([*checkpoints, f"{len(files) - len(checkpoints)} files of logs and configs"]),
        "true and predicted boxes": str(sheet),
        "last checkpoint and log": str(report.work_dir),
    }


def _mean(losses: Sequence[float]) -> str:
    return f"{sum(losses) / len(losses):.3f}"


def _passed(report: TrainingReport, screen: Screen) -> bool:
    ap50 = report.metrics["bbox_mAP_50"]
    if ap50 >= _PASSING_AP50:
        return True
    screen.say(f"it did not learn: AP50 is {ap50:.3f}, below {_PASSING_AP50}")
    return False
