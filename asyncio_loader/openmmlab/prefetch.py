"""`PrefetchDataset`: the images of any mmengine dataset, fetched ahead; its pipeline unmodified."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from mmengine.registry import DATASETS

from asyncio_loader.checks import whole_number
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.position import Position
from asyncio_loader.datasets.session import Session
from asyncio_loader.errors import ConfigError
from asyncio_loader.openmmlab.prefetch_images import ImageRefs, S3Only, image_backend, is_on_s3, leaves
from asyncio_loader.openmmlab.prefetched import offering
from asyncio_loader.options import FetchOptions, OnError, S3Options
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.records import Fetched
from asyncio_loader.trace import TraceFile

__all__ = ["PrefetchDataset"]


@DATASETS.register_module(force=True)
class PrefetchDataset(AsyncIterableDataset):
    """Samples of an mmengine dataset whose images lie on S3, each image fetched before its pipeline runs.

    In a config::

        train_dataloader = dict(
            batch_size=2, num_workers=2, sampler=None,
            dataset=dict(type="PrefetchDataset", dataset=dict(type="CocoDataset", …)))

    The sample of index *i* is ``dataset[i]`` of the dataset inside; while that runs, the storage backend ``aws``
    answers a read of its ``img_path`` with the bytes that are there already. All other reads go the usual way:
    further files of the sample (masks, depth), images of other indices (Mosaic, MixUp, another try after a None), and
    paths that are not on S3. So nothing is fetched ahead of a dataset on disk, and it works as before.

    It takes the sampler's place: order, epochs, ranks, workers and errors as in `AsyncIterableDataset`. The epoch is
    set by `PrefetchHook`, which stands in for mmengine's DistSamplerSeedHook in every Runner. An image that cannot be
    had never reaches the pipeline, so ``LoadImageFromFile(ignore_empty=True)`` sees none: `on_error` decides.

    Random transforms of OpenMMLab draw from global generators: the order of the samples is the same for any number
    of workers, the augmentations are not. `dataset.get_data_info` is called in another thread than the pipeline.

    On several ranks mmengine's evaluator puts the results together like a zip and cuts them off at ``len()`` of the
    dataset. So for evaluation samples are dealt one by one in turn, and ``len()`` is that of the whole set: what is cut
    off is the padding, and every sample counts once. (``len()`` of the dataloader is too large then; only logs and
    estimates of the time left look at it.) A dataset in test mode does so, and any that `PrefetchHook` finds in a loop
    of evaluation.

    Attributes:
        dataset: the dataset inside.
        takes_any_batch_size: whether none was given, so that the dataloader's is taken.
        is_for_evaluation: whether samples are dealt as the evaluator expects it.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        seed: int = 0,
        drop_last: bool = False,
        on_error: OnError = "raise",
        max_failures: int | float = 0.01,
        quarantine: str | PathLike[str] | None = None,
        options: FetchOptions | Mapping[str, Any] = FetchOptions(),  # noqa: B008 - frozen
    ) -> None:
        """Build the dataset inside, reading its annotations, and see where its images are; none is fetched.

        Args:
            dataset: a dataset, or its dict for mmengine's registry: a BaseDataset or a wrapper of such.
            batch_size: the dataloader's, which a dataset cannot see. None: `PrefetchHook` fills it in.
            shuffle: another order in every epoch. None: unless the dataset inside is in test mode.
            seed: of the order.
            drop_last: leave out the last, short step of the epoch; needs `batch_size`.
            on_error: see `AsyncIterableDataset`; also for what the pipeline raises. Where it returns None, mmengine's
                dataset tries other samples by itself, of which nothing is counted.
            max_failures: see `AsyncIterableDataset`.
            quarantine: see `AsyncIterableDataset`.
            options: how much is fetched at once, per worker; see `AsyncIterableDataset`.

        Raises:
            ConfigError: an argument is wrong, or the dataset inside has no images, or not one `img_path` per sample.
        """
        seed = whole_number("PrefetchDataset: seed", seed, least=0)
        if not isinstance(shuffle, bool | None):
            raise ConfigError(f"PrefetchDataset: shuffle must be True, False or None, not {shuffle!r}")
        self.dataset = _built(dataset)
        if drop_last and batch_size is None:
            raise ConfigError("PrefetchDataset: drop_last=True needs batch_size, the same as the dataloader's")
        backend = image_backend(self.dataset)
        super().__init__(
            ImageRefs(self.dataset, backend),
            transform=_RunPipeline(self.dataset),
            shuffle=not _is_test(self.dataset) if shuffle is None else shuffle,
            seed=seed,
            batch_size=1 if batch_size is None else batch_size,
            drop_last=drop_last,
            options=options,
            storage=backend.options,
            on_error=on_error,
            max_failures=max_failures,
            quarantine=quarantine,
        )
        self.takes_any_batch_size = batch_size is None
        self.is_for_evaluation = _is_test(self.dataset)
        # A dataset without image paths shall fail where it is written, not in a worker.
        self.refs[0]

    @property
    def metainfo(self) -> Any:
        """The `metainfo` of the dataset inside: names of the classes and the like; mmengine keeps it in checkpoints."""
        return getattr(self.dataset, "metainfo", {})

    def fit_batch_size(self, batch_size: int | None) -> None:
        """Take the dataloader's batch size for this one's, unless it has one; before workers start.

        Args:
            batch_size: samples per batch; None where samples come one by one.

        Raises:
            ConfigError: this one has another.
        """
        wanted = 1 if batch_size is None else batch_size
        if self.takes_any_batch_size:
            self.batch_size = wanted
        elif self.batch_size != wanted:
            raise ConfigError(
                f"PrefetchDataset: batch_size={self.batch_size}, but the dataloader's is {batch_size}: the order of "
                "the samples depends on it, so they must be equal (or leave it out here)"
            )

    def deal_for_evaluation(self) -> None:
        """Deal samples as mmengine's evaluator expects it, see the class; before workers start.

        Raises:
            ConfigError: samples may be left out, so that results would be cut off, or padding counted, in their place.
        """
        if self.on_error == "skip":
            raise ConfigError(
                "PrefetchDataset: on_error='skip' leaves samples out, and mmengine's evaluator then takes padding for "
                "results: on several ranks give it 'raise' or 'replace'"
            )
        self.is_for_evaluation = True

    def __len__(self) -> int:
        """Samples that this rank gets per epoch; for evaluation those of all ranks."""
        return len(self.refs) if self.is_for_evaluation else super().__len__()

    def open_session(self, trace: TraceFile | None = None) -> Session:
        """See `AsyncIterableDataset.open_session`; of this one's store, which leaves what is not on S3 alone."""
        assert isinstance(self.storage, S3Options)
        storage = S3Only(self.storage, self.options)
        return Session(storage, self.options, trace=trace or self.trace, counters=self.counters)

    def _plan(self, batch_size: int, position: Position) -> EpochPlan:
        plan = super()._plan(batch_size, position)
        return dataclasses.replace(plan, interleaved=True) if self.is_for_evaluation else plan


@dataclass(frozen=True, slots=True)
class _RunPipeline:
    """A fetched image → what the dataset inside makes of it."""

    dataset: Any

    def __call__(self, fetched: Fetched) -> Any:
        uri = fetched.ref.uri
        with offering({uri: fetched.data} if is_on_s3(uri) else {}):
            return self.dataset[fetched.index]


def _built(dataset: Any) -> Any:
    built = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
    for name in ("get_data_info", "__getitem__", "__len__"):
        if not hasattr(built, name):
            raise ConfigError(
                f"PrefetchDataset: dataset must be one of mmengine's or its dict; {type(built).__name__} has no {name}"
            )
    if hasattr(built, "full_init"):
        # A lazy one would otherwise be read by every worker.
        built.full_init()
    if len(built) == 0:
        raise ConfigError(f"PrefetchDataset: {type(built).__name__} is empty: there is nothing to load")
    return built


def _is_test(dataset: Any) -> bool:
    return all(getattr(leaf, "test_mode", False) for leaf in leaves(dataset))
