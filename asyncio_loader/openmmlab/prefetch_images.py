"""Which object each sample of an mmengine dataset is made of, by what its configuration says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.records import Buffer, ObjectRef
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo
from asyncio_loader.stores.router import StoreRouter

__all__ = ["ImageRefs", "S3Only", "image_backend", "is_on_s3", "leaves"]

_S3 = ("aws", "s3")
# mmengine's and mmcv 1.x's own names for backends that a config switches to and fro with ours.
_NOT_FETCHED = ("local", "disk", "http")


def is_on_s3(uri: str) -> bool:
    """True for what is fetched ahead; anything else is the pipeline's own to read."""
    return uri.startswith("s3://")


@dataclass(frozen=True, slots=True)
class ImageRefs(Sequence[ObjectRef]):
    """The image of every sample, made when it is asked for; any thread may ask if `get_data_info` allows that.

    Attributes:
        dataset: what gives ``get_data_info(index)["img_path"]``: any dataset of mmengine, its wrappers included.
        backend: maps the paths, as the pipeline's own reads of them will be.
    """

    dataset: Any
    backend: AwsBackend

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        path = self.dataset.get_data_info(index).get("img_path")
        if not isinstance(path, str):
            raise ConfigError(
                f"PrefetchDataset: get_data_info({index}) of {type(self.dataset).__name__} has no path in 'img_path' "
                f"but {path!r}: a sample must be made of one image"
            )
        return ObjectRef(self.backend.join_path(path))


class S3Only:
    """A store of S3's objects that has nothing, zero bytes, for anything else. See `ObjectStore`.

    Args:
        storage: where S3 is.
        options: timeouts and number of connections.
    """

    def __init__(self, storage: S3Options, options: FetchOptions) -> None:
        self._router = StoreRouter(storage, timeouts=options.retry, max_connections=options.most_in_flight)

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """See `ObjectStore.get`."""
        return await self._router.get(uri, admit=admit) if is_on_s3(uri) else b""

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self._router.head(uri) if is_on_s3(uri) else ObjectInfo(uri, 0)

    def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`. For S3 alone."""
        return self._router.list(uri, recursive=recursive)

    async def aclose(self) -> None:
        """See `ObjectStore.aclose`."""
        await self._router.aclose()


def image_backend(dataset: Any) -> AwsBackend:
    """The backend that the pipeline's image loader reads S3 through, for its options and its path mapping.

    That loader is the first transform with `backend_args` (or `file_client_args`) whose name says that it loads an
    image, else the first with such arguments at all. Without arguments ``s3://`` is what the environment says.

    Raises:
        ConfigError: a backend that nothing can be fetched ahead for; wrong arguments; or datasets inside that differ
            in them, since all of an epoch comes over one set of connections.
    """
    found = [_image_loader_arguments(leaf) for leaf in leaves(dataset)]
    if any(arguments != found[0] for arguments in found):
        raise ConfigError(
            "PrefetchDataset: the datasets inside read their images with different backend_args; "
            "give their LoadImageFromFile the same ones"
        )
    arguments = dict(found[0])
    backend = arguments.pop("backend", arguments.pop("prefix", "aws"))
    if backend in _NOT_FETCHED:
        return AwsBackend()
    if backend not in _S3:
        raise ConfigError(
            f"PrefetchDataset: the images are read through backend {backend!r}; it fetches ahead for 'aws' (alias 's3')"
        )
    return AwsBackend(**arguments)


def leaves(dataset: Any) -> Iterator[Any]:
    """The datasets with a pipeline of their own, under wrappers such as ConcatDataset and RepeatDataset."""
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner == [None]:
        yield dataset
        return
    for each in inner:
        yield from leaves(each)


def _image_loader_arguments(dataset: Any) -> Mapping[str, Any]:
    loaders = [each for each in _flatten(getattr(dataset, "pipeline", ())) if hasattr(each, "backend_args")]
    images = [each for each in loaders if "LoadImage" in type(each).__name__]
    for each in (images or loaders)[:1]:
        return each.backend_args or getattr(each, "file_client_args", None) or {}
    return {}


def _flatten(node: Any) -> Iterator[Any]:
    """All transforms, those inside of compositions and of wrappers such as RandomChoice included."""
    if isinstance(node, list | tuple):
        for each in node:
            yield from _flatten(each)
    else:
        yield node
        yield from _flatten(getattr(node, "transforms", ()))
