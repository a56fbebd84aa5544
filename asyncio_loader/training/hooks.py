"""What happens besides a step: the epoch is set, throughput is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.hooks import Hook

from asyncio_loader.progress import RecentFigures, as_scalars

__all__ = ["EpochHook", "ProgressHook", "ThroughputHook"]


class EpochHook(Hook):  # type: ignore[misc]
    """Tells the loader which epoch comes, so that each has its own order. For runs by epoch."""

    def before_train_epoch(self, runner: Any) -> None:
        """See the class."""
        runner.train_loop.dataloader.set_epoch(runner.epoch)


class ThroughputHook(Hook):  # type: ignore[misc]
    """Logs ``images_per_s``, and ``wait_share``: the part of the step, 0 to 1, that went by waiting for data.

    And the loader's own figures of the last seconds, under ``loader/``: see `progress.as_scalars`. From the message hub
    they reach the log line and all of mmengine's visualizer backends. Those are not kept for a resumed run.

    Runs after mmengine's timer and before its logger.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._figures: RecentFigures | None = None

    def before_train(self, runner: Any) -> None:
        """See the class."""
        self._figures = RecentFigures(runner.train_dataloader.stats)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """See the class."""
        hub = runner.message_hub
        if self._figures is not None:
            for name, value in as_scalars(self._figures.read()).items():
                # A value for each step of a long run would be megabytes of each checkpoint.
                hub.update_scalar(f"train/{name}", value, resumed=False)
        time_s = hub.get_scalar("train/time").current()
        if data_batch is None or time_s <= 0:
            return
        images, _ = data_batch
        hub.update_scalar("train/images_per_s", len(images) / time_s)
        hub.update_scalar("train/wait_share", hub.get_scalar("train/data_time").current() / time_s)


class ProgressHook(Hook):  # type: ignore[misc]
    """Calls `report(step, loss, scalars)` after each step, steps counted from 1.

    The scalars are those of `progress.as_scalars`; none where no hook before this one has put them into the hub.
    """

    def __init__(self, report: Callable[[int, float, Mapping[str, float]], None]) -> None:
        self._report = report

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """See the class."""
        if outputs is not None:
            buffers = runner.message_hub.log_scalars
            scalars = {
                name.removeprefix("train/"): float(buffer.current())
                for name, buffer in buffers.items()
                if name.startswith("train/loader/")
            }
            self._report(runner.iter + 1, float(outputs["loss"].detach()), scalars)
