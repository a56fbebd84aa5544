"""The border between two epochs: how long a training loop waits there for its next batch.

A loop takes batches of 16 decoded JPEGs and works on each for a fixed time, in which it sleeps: so the loader is not
what limits it, and every gap between two batches that is longer than the step is a wait. The gap over a border is from
the last batch of an epoch to the first one of the next. The contenders have two threads or workers each:

* ``Loader``: as it is, with `set_epoch`; with ``epochs=`` given; and with look-ahead switched off, which
  ``epochs=1`` does.
* ``DataLoader``: torch's, over our dataset, with workers that persist; with ``epochs=`` given, and switched off.
* ``boto3``: torch's, over a map-style dataset that calls `get_object`; workers that persist, and not. Over fewer
  images, since its speed does not depend on their number. Its two workers take an epoch's batches in turn, so that a
  long gap is often followed by a short one.

Those of ours are measured again without a step, where the loader is the limit. Each contender has a process of its own,
and `repeats` is the number of borders it goes over: a border is one measurement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from statistics import median
from typing import Any

from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.cases.epoch import BATCH
from bench.images import MEAN_BYTES, decode, decode_fetched, jpeg_objects, key_of
from bench.measure import call_in_fresh_process
from bench.report import Report

# More than a window holds, so that look-ahead cannot have fetched a whole epoch.
IMAGES = 640
PEER_IMAGES = 64
THREADS = 2
STEP_S = 0.03
MEDIAN_S, P99_S = 0.100, 0.300


def run(settings: Settings) -> Report:
    """Measure all of them."""
    images, peer_images = settings.count(IMAGES), settings.count(PEER_IMAGES)
    epochs = settings.repeats + 1
    raw: dict[str, dict[str, Any]] = {}
    with S3Simulator(jpeg_objects(images), median_s=MEDIAN_S, p99_s=P99_S) as simulator:
        for name, function, arguments in _contenders(images, peer_images, epochs):
            raw[name] = call_in_fresh_process(
                f"{__name__}:{function}",
                epochs=epochs,
                endpoint_url=simulator.endpoint_url,
                environ=simulator.environ,
                **arguments,
            )
    return Report(
        case="border",
        title=f"{images} JPEGs of {MEAN_BYTES / 1000:.0f} KB an epoch at {MEDIAN_S * 1000:.0f} ms median, "
        f"{P99_S * 1000:.0f} ms 99th percentile, batches of {BATCH}, {THREADS} threads or workers, "
        f"{settings.repeats} borders",
        columns=("contender", "step, ms", "gap, ms", "border, ms", "worst", "border / gap", "images/s"),
        rows=[_row(name, result) for name, result in raw.items()],
        raw=raw,
    )


def load_with_loader(
    images: int, epochs: int, endpoint_url: str, step_s: float, expected_epochs: int | None
) -> dict[str, Any]:
    """Our Loader."""
    from asyncio_loader import Loader

    dataset = _dataset(images, endpoint_url, expected_epochs)
    with Loader(dataset, BATCH, threads=THREADS) as loader:
        return _watch(loader, loader.set_epoch, images=images, epochs=epochs, step_s=step_s)


def load_with_workers(
    images: int, epochs: int, endpoint_url: str, step_s: float, expected_epochs: int | None
) -> dict[str, Any]:
    """Our dataset in a torch DataLoader."""
    dataset = _dataset(images, endpoint_url, expected_epochs)
    loader = _data_loader(dataset, persists=True)
    return _watch(loader, dataset.set_epoch, images=images, epochs=epochs, step_s=step_s)


def load_with_boto3(images: int, epochs: int, endpoint_url: str, step_s: float, persists: bool) -> dict[str, Any]:
    """The DataLoader that one finds in most repositories."""
    loader = _data_loader(_Boto3Images(endpoint_url, images), persists=persists, shuffle=True)
    return _watch(loader, lambda epoch: None, images=images, epochs=epochs, step_s=step_s)


def _contenders(images: int, peer_images: int, epochs: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    lookahead = {"set_epoch alone": None, "epochs=": epochs, "no look-ahead": 1}
    for step_s, suffix in ((STEP_S, ""), (0.0, ", no step")):
        for says, expected_epochs in lookahead.items():
            arguments = {"images": images, "step_s": step_s, "expected_epochs": expected_epochs}
            yield f"Loader, {says}{suffix}", "load_with_loader", arguments
            if expected_epochs is not None:
                yield f"DataLoader, {says}{suffix}", "load_with_workers", arguments
    for persists in (True, False):
        arguments = {"images": peer_images, "step_s": STEP_S, "persists": persists}
        yield f"boto3, workers {'persist' if persists else 'end'}", "load_with_boto3", arguments


def _watch(
    loader: Any, set_epoch: Callable[[int], object], *, images: int, epochs: int, step_s: float
) -> dict[str, Any]:
    """Train on all epochs: when each batch came, in seconds, epoch by epoch."""
    arrivals_s: list[list[float]] = []
    for epoch in range(epochs):
        set_epoch(epoch)
        arrivals_s.append([])
        count = 0
        for batch in loader:
            arrivals_s[-1].append(time.perf_counter())
            count += len(batch)
            # The step of a training loop.
            time.sleep(step_s)
        assert count == images
    return {"arrivals_s": arrivals_s, "images": images, "step_s": step_s}


def _data_loader(dataset: Any, *, persists: bool, **arguments: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(dataset, BATCH, num_workers=THREADS, persistent_workers=persists, collate_fn=list, **arguments)


def _dataset(images: int, endpoint_url: str, expected_epochs: int | None) -> Any:
    from asyncio_loader import AsyncIterableDataset, S3Options

    return AsyncIterableDataset(
        [f"s3://bucket/{key_of(number)}" for number in range(images)],
        transform=decode_fetched,
        shuffle=True,
        seed=1,
        batch_size=BATCH,
        epochs=expected_epochs,
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )


class _Boto3Images:
    """Map-style; the client is made in the worker, at the first item."""

    def __init__(self, endpoint_url: str, images: int) -> None:
        self._endpoint_url = endpoint_url
        self._images = images
        self._client: Any = None

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, index: int) -> Any:
        if self._client is None:
            import boto3

            self._client = boto3.session.Session().client("s3", endpoint_url=self._endpoint_url)
        with closing(self._client.get_object(Bucket="bucket", Key=key_of(index))["Body"]) as body:
            return decode(body.read())


def _row(name: str, result: dict[str, Any]) -> tuple[str, ...]:
    arrivals_s: list[list[float]] = result["arrivals_s"]
    gaps_s = [later - sooner for epoch in arrivals_s for sooner, later in pairwise(epoch)]
    borders_s = [later[0] - sooner[-1] for sooner, later in pairwise(arrivals_s)]
    # From the second epoch on: the first one has the start of workers and connections in it.
    whole_s = arrivals_s[-1][-1] - arrivals_s[0][-1]
    gap_s, border_s = median(gaps_s), median(borders_s)
    return (
        name,
        f"{result['step_s'] * 1000:.0f}",
        f"{gap_s * 1000:.1f}",
        f"{border_s * 1000:.1f}",
        f"{max(borders_s) * 1000:.1f}",
        f"{border_s / gap_s:.2f}",
        f"{result['images'] * len(borders_s) / whole_s:.0f}",
    )
