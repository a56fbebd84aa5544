"""COCO-like detection data, from the keys of an mmdet config, 2.x or 3.x."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.checks import whole_number
from asyncio_loader.coco.index import CocoIndex
from asyncio_loader.datasets.coco_keys import CocoKeys
from asyncio_loader.datasets.collate import collate_detection
from asyncio_loader.datasets.collate_packed import collate_packed, is_packed
from asyncio_loader.datasets.custom_order import OrderSource
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.location import Location, join_root, read_file
from asyncio_loader.datasets.quarantine import keys_to_leave_out, parse_quarantine
from asyncio_loader.datasets.state import digest_names
from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.naming import named
from asyncio_loader.options import FetchOptions, OnError
from asyncio_loader.order.ordering import Grouped, Ordering
from asyncio_loader.records import Fetched, ObjectRef, Sample
from asyncio_loader.trace import TraceFile
from asyncio_loader.transforms.base import Compose, PipelineEntry
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.loading import LoadAnnotations, LoadImageFromFile
from asyncio_loader.transforms.registry import Transform
from asyncio_loader.transforms.tta import MultiScaleFlipAug, TestTimeAug

__all__ = ["CocoDataset"]


class CocoDataset(AsyncIterableDataset):
    """Images and annotations by the rules of `CocoDataset` in mmdet 2.28 or 3.3, fetched ahead.

    With any of `data_prefix`, `metainfo`, `filter_cfg` and `backend_args` it speaks the dialect of 3.x: the pipeline
    gets samples of 3.x, with annotations in test mode, too, and a batch of what `PackDetInputs` makes is a dict of
    `inputs` and `data_samples` (see `collate_packed`). Keys of both dialects are refused.

    The annotation file is read once, by the constructor; images come while it is iterated. A sample is what the
    pipeline makes of the dialect's `results` dict. Random transforms of ours draw from a generator made of (seed,
    epoch, position), so a sample does not depend on which thread or worker makes it.

    See `AsyncIterableDataset` for order, errors and processes. A sample that is there only to give every rank as many
    as the others, or in place of one that was left out, has ``is_padding=True`` in its `img_metas`, or in the
    `metainfo` of its `data_samples`.

    Attributes:
        index: the annotations: image ids, categories, boxes by position.
        pipeline: the transforms.
    """

    def __init__(
        self,
        ann_file: str,
        img_prefix: str | None = None,
        pipeline: Iterable[PipelineEntry] | Compose | None = None,
        *,
        data_root: str | None = None,
        data_prefix: Mapping[str, Any] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        filter_cfg: Mapping[str, Any] | None = None,
        backend_args: Mapping[str, Any] | None = None,
        classes: Sequence[str] | str | None = None,
        seg_prefix: str | None = None,
        filter_empty_gt: bool = True,
        test_mode: bool = False,
        file_client_args: Mapping[str, Any] | None = None,
        shuffle: bool | None = None,
        seed: int = 0,
        batch_size: int = 1,
        drop_last: bool = False,
        group_by_aspect: bool = False,
        order: Ordering | OrderSource | None = None,
        epochs: int | None = None,
        options: FetchOptions | Mapping[str, Any] = FetchOptions(),  # noqa: B008 - frozen
        on_error: OnError = "raise",
        max_failures: int | float = 0.01,
        quarantine: str | PathLike[str] | None = None,
        leave_out: str | None = None,
        trace: str | PathLike[str] | TraceFile | None = None,
    ) -> None:
        """Read the annotation file and describe the dataset.

        Args:
            ann_file: annotation JSON: a path, an ``s3://`` URI, or what `path_mapping` makes one.
            img_prefix: directory of the images, likewise. None: the names in the annotation file are paths.
            pipeline: entries of a config, callables, or a `Compose`. It must be given.
            data_root: directory that the paths are relative to, unless they are absolute or URIs.
            data_prefix: in 3.x ``dict(img=…, seg=…)``, for `img_prefix` and `seg_prefix`.
            metainfo: in 3.x ``dict(classes=…)``, for `classes`; other entries are kept.
            filter_cfg: in 3.x ``dict(filter_empty_gt=True, min_size=32)``; what it does not name is not filtered.
            backend_args: in 3.x, for `file_client_args`.
            classes: names of the wanted categories, or a text file with one name per line, read as `ann_file` is but
                not from under `data_root`; the order of the labels is the annotation file's. None: COCO's 80.
            seg_prefix: directory of the semantic maps.
            filter_empty_gt: leave out images without annotations of the wanted categories. In any case, as in mmdet 2,
                those are left out that have a side below 32 pixels, but for a test.
            test_mode: keep every image, in order, and give the pipeline no annotations.
            file_client_args: ``dict(backend="aws", path_mapping={…}, endpoint_url=…, …)``; for images those of the
                pipeline's `LoadImageFromFile` come first, if they name another backend than the disk.
            shuffle: None: unless `test_mode`.
            seed: of the shuffle and of the random transforms, 0 or more.
            batch_size: see `AsyncIterableDataset`.
            drop_last: see `AsyncIterableDataset`.
            group_by_aspect: batches of images that are all wider than high, or all not, so that less is padded. Whole
                batches only: what is left of either group comes last, mixed. As GroupSampler of mmdet 2.x and
                AspectRatioBatchSampler of mmdet 3.x mean it; unshuffled it is the latter's very order. Square images
                count with the high ones in 2.x and with the wide ones in 3.x.
            order: see `AsyncIterableDataset`.
            epochs: see `AsyncIterableDataset`.
            options: see `AsyncIterableDataset`.
            on_error: see `AsyncIterableDataset`. A pipeline that returns None gets another sample instead, as in
                mmdet; in test mode that is an error, and whatever stands in for a sample that failed is marked as
                padding, under ``"replace"`` and ``"skip"`` alike.
            max_failures: see `AsyncIterableDataset`.
            quarantine: see `AsyncIterableDataset`.
            leave_out: quarantine file of an earlier run, a path read as `classes` is: images that were wrong themselves
                (see `quarantine.keys_to_leave_out`) are no part of the data set then. Not the file that this run
                writes: every rank has to find the same in it.
            trace: see `AsyncIterableDataset`.

        Raises:
            ConfigError: a wrong argument, or an annotation file that is none, or has none of the classes.
            FetchError: the annotation file cannot be had.
        """
        seed = whole_number("seed", seed, least=0)
        if pipeline is None:
            raise ConfigError("pipeline is missing: give the list of transforms")
        keys = CocoKeys.of(
            keys_2x={
                "img_prefix": img_prefix,
                "seg_prefix": seg_prefix,
                "classes": classes,
                "filter_empty_gt": filter_empty_gt,
                "file_client_args": file_client_args,
            },
            keys_3x={
                "data_prefix": data_prefix,
                "metainfo": metainfo,
                "filter_cfg": filter_cfg,
                "backend_args": backend_args,
            },
        )
        self.pipeline = pipeline if isinstance(pipeline, Compose) else Compose(pipeline)
        self.test_mode = test_mode
        source = _required(join_root(ann_file, data_root), "ann_file")
        prefix = join_root(keys.img_prefix, data_root)
        location = Location.of(_image_client_args(self.pipeline, keys.client_args))
        unwanted = _unwanted(leave_out, quarantine, keys.client_args)
        self._unwanted_digest = digest_names(sorted(unwanted)) if unwanted else None

        def is_unwanted(file_name: str) -> bool:
            return _uri_of(file_name, prefix, location) in unwanted

        self.index = CocoIndex.parse(
            _read_annotations(source, keys.client_args, ann_file),
            source=source,
            classes=_names_in(keys.classes, keys.client_args) if isinstance(keys.classes, str) else keys.classes,
            test_mode=test_mode,
            filter_empty_gt=keys.filter_empty_gt,
            min_size=keys.min_size,
            is_square_wide=keys.is_3x,
            with_masks=_may_need_masks(self.pipeline),
            leave_out=is_unwanted if unwanted else None,
        )
        _check_not_empty(self.index, keys.min_size)
        self._metainfo = {**keys.metainfo, "classes": self.index.classes}
        super().__init__(
            _ImageRefs(self.index.file_names, prefix, location),
            transform=_RunPipeline(
                self.index, self.pipeline, prefix, join_root(keys.seg_prefix, data_root), seed, keys.is_3x
            ),
            shuffle=not test_mode if shuffle is None else shuffle,
            seed=seed,
            batch_size=batch_size,
            drop_last=drop_last,
            order=order,
            epochs=epochs,
            options=options,
            storage=location.storage,
            on_error=on_error,
            max_failures=max_failures,
            quarantine=quarantine,
            trace=trace,
        )
        if group_by_aspect and order is not None:
            raise ConfigError("group_by_aspect=True and order= both say what the order is: leave one out")
        self.group_by_aspect = group_by_aspect
        place = f"{'data_prefix' if keys.is_3x else 'img_prefix'}={img_prefix or data_prefix!r}"
        self._place = place if keys.img_prefix is not None else ""
        self._grouped: Grouped | None = None

    @property
    def metainfo(self) -> dict[str, Any]:
        """What was given as `metainfo`, with the names of the wanted categories as `classes`."""
        return dict(self._metainfo)

    @property
    def CLASSES(self) -> tuple[str, ...]:  # noqa: N802 - the dialect's name for it
        """The names of the wanted categories, in the order asked for; labels follow `cat_ids`."""
        return self.index.classes

    @property
    def cat_ids(self) -> list[int]:
        """Category id of each label."""
        return self.index.cat_ids

    @property
    def flag(self) -> npt.NDArray[np.uint8]:
        """Aspect group of every image: 1 if wider than high; in 3.x, or square."""
        return self.index.flags

    def collate(self, samples: list[Any]) -> Any:
        """As detection models take them: torchvision's, see `collate_detection`, or mmdet 3.x's, see `collate_packed`.

        The samples tell which: the latter are what `PackDetInputs` makes.
        """
        return collate_packed(samples) if samples and is_packed(samples[0]) else collate_detection(samples)

    def _ordering(self, batch_size: int) -> Ordering:
        if not self.group_by_aspect:
            return super()._ordering(batch_size)
        wanted = (batch_size, self.shuffle, self.seed)
        if self._grouped is None or (self._grouped.batch_size, self._grouped.shuffle, self._grouped.seed) != wanted:
            self._grouped = Grouped(self.flag, batch_size, shuffle=self.shuffle, seed=self.seed)
        return self._grouped

    def _describe(self, batch_size: int, epoch: int) -> dict[str, Any]:
        described = super()._describe(batch_size, epoch)
        # The names of a few images do not tell which others are missing.
        return described if self._unwanted_digest is None else described | {"left_out": self._unwanted_digest}

    @property
    def _named_by(self) -> str:
        return self._place

    @property
    def _on_void(self) -> OnError:
        # A test set is judged image by image: nothing may stand in for another.
        return "raise" if self.test_mode else "replace"

    @property
    def _is_judged(self) -> bool:
        return self.test_mode


@dataclass(frozen=True, slots=True)
class _ImageRefs(Sequence[ObjectRef]):
    """The images as refs, made when they are asked for."""

    file_names: list[str]
    prefix: str | None
    location: Location

    def __len__(self) -> int:
        return len(self.file_names)

    def __getitem__(self, index: Any) -> Any:
        return ObjectRef(_uri_of(self.file_names[index], self.prefix, self.location))


@dataclass(frozen=True, slots=True)
class _RunPipeline:
    """Bytes and annotations of an image → the sample."""

    index: CocoIndex
    pipeline: Compose
    img_prefix: str | None
    seg_prefix: str | None
    seed: int
    is_3x: bool

    def __call__(self, fetched: Fetched) -> Sample | None:
        begin = self.index.results_3x if self.is_3x else self.index.results
        results = begin(fetched.index, img_prefix=self.img_prefix, seg_prefix=self.seg_prefix)
        results["img_bytes"] = fetched.data
        results["rng"] = np.random.default_rng((self.seed, fetched.epoch, fetched.position))
        sample = self.pipeline(results)
        return _mark_padding(sample) if fetched.is_padding and sample is not None else sample


def _uri_of(file_name: str, prefix: str | None, location: Location) -> str:
    return location.resolve(posixpath.join(prefix or "", file_name))


def _unwanted(
    leave_out: str | None, quarantine: str | PathLike[str] | None, file_client_args: Mapping[str, Any] | None
) -> frozenset[str]:
    """URIs of the images that are no part of the data set."""
    if leave_out is None:
        return frozenset()
    path = _required(leave_out, "leave_out")
    if quarantine is not None and fspath(quarantine) == path:
        raise ConfigError(f"leave_out={path!r} is the file that quarantine= writes to: give that another name")
    try:
        data = read_file(path, file_client_args)
    except ObjectNotFound as error:
        raise ConfigError(f"leave_out={path!r}: there is no such file") from error
    return keys_to_leave_out(parse_quarantine(data, source=path))


def _mark_padding(sample: Sample) -> Sample:
    """Say it where metrics look: in the meta data of the image. Other samples stay as mmdet makes them."""
    if is_packed(sample):
        packed = sample["data_samples"]
        for each in packed if isinstance(packed, list) else [packed]:
            each.set_metainfo({"is_padding": True})
        return sample
    metas = sample.get("img_metas")
    for each in metas if isinstance(metas, list) else [metas]:
        if not isinstance(each, DataContainer) or not isinstance(each.data, dict):
            return {**sample, "is_padding": True}
        each.data["is_padding"] = True
    return sample


def _required(path: str | None, name: str) -> str:
    if not isinstance(path, str) or not path:
        raise ConfigError(f"{name} must be a path or URI, not {path!r}")
    return path


def _read_annotations(source: str, file_client_args: Mapping[str, Any] | None, ann_file: str) -> bytes:
    with named(f"ann_file={ann_file!r}"):
        return read_file(source, file_client_args)


def _names_in(path: str, file_client_args: Mapping[str, Any] | None) -> list[str]:
    try:
        text = read_file(path, file_client_args).decode("utf-8")
    except (ObjectNotFound, UnicodeDecodeError) as error:
        raise ConfigError(
            f"classes={path!r} is not a text file with one name per line; for one class say classes=({path!r},)"
        ) from error
    return [name.strip() for name in text.splitlines() if name.strip()]


def _check_not_empty(index: CocoIndex, min_size: int) -> None:
    if len(index) == 0 and index.cat_names:
        names = ", ".join(index.cat_names)
        small = f"; {index.small} have a side below {min_size} pixels, and are left out" if index.small else ""
        raise ConfigError(
            f"{index.source}: no image is left: it has none, or none with an annotation of {names}{small}"
        )
    if len(index) == 0:
        wanted = ", ".join(index.classes[:5]) + (", …" if len(index.classes) > 5 else "")
        raise ConfigError(
            f"{index.source}: no image is left. Of the classes wanted ({wanted}) the file has "
            f"none: set classes= to names of its categories"
        )


def _image_client_args(pipeline: Compose, of_dataset: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    for transform in _all_of(pipeline):
        if isinstance(transform, LoadImageFromFile):
            own = transform.file_client_args
            return of_dataset if own is None or own.get("backend", "disk") == "disk" else own
    return of_dataset


def _may_need_masks(pipeline: Compose) -> bool:
    """Segmentations are most of an annotation file: kept only if a transform asks for them, or might."""
    ours = __name__.partition(".")[0]
    return any(
        transform.with_mask
        if isinstance(transform, LoadAnnotations)
        else type(transform).__module__.partition(".")[0] != ours
        for transform in _all_of(pipeline)
    )


def _all_of(pipeline: Compose) -> Iterator[Transform]:
    """Its transforms, those inside of others after these."""
    for transform in pipeline.transforms:
        yield transform
        if isinstance(transform, MultiScaleFlipAug):
            yield from _all_of(transform.transforms)
        elif isinstance(transform, TestTimeAug):
            for subroutine in transform.subroutines:
                yield from _all_of(subroutine)
