"""What the backends for mmengine and for mmcv 1.x have in common: S3 by way of our own `FileClient`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from asyncio_loader.fileio.backends import FilePath, StorageBackend, Suffix
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.openmmlab.prefetched import take

__all__ = ["ObjectFiles"]


class ObjectFiles:
    """Files on S3, under the method names that mmcv 1.x and mmengine share.

    Holds its arguments and nothing else; connections belong to the `FileClient` of the same arguments, one per process
    however many of these there are (mmengine makes one per ``load`` and ``dump``). So it pickles, and crosses a fork.

    Args:
        path_mapping: see `PathMapping`.
        s3_options: fields of `S3Options`, by name. All arguments can be written as JSON, which mmengine relies on.

    Raises:
        ConfigError: an unknown option, or a wrong value.
    """

    def __init__(self, path_mapping: Mapping[str, str] | None = None, **s3_options: Any) -> None:
        self._arguments = {"path_mapping": path_mapping, **s3_options}
        # Now, because a wrong option shall show where the config is read and not at the first image.
        self._client()

    def get(self, filepath: FilePath) -> bytes | memoryview:
        """The content of an object: what `PrefetchDataset` has fetched ahead, else one GET, and more if it is large.

        Raises:
            FetchError: a missing object raises ObjectNotFound, which is a FileNotFoundError.
        """
        client = self._client()
        data = take(client.join_path(filepath))
        return client.get(filepath) if data is None else data

    def get_text(self, filepath: FilePath, encoding: str = "utf-8") -> str:
        """The content of a text object."""
        return str(self.get(filepath), encoding)

    def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
        """Create or replace an object: whole or not at all."""
        self._client().put(obj, filepath)

    def put_text(self, obj: str, filepath: FilePath, encoding: str = "utf-8") -> None:
        """Create or replace a text object."""
        self.put(obj.encode(encoding), filepath)

    def exists(self, filepath: FilePath) -> bool:
        """True for an object, and for what keys go on behind with a slash."""
        return self._client().exists(filepath)

    def isdir(self, filepath: FilePath) -> bool:
        """True for a bucket, and for what keys go on behind with a slash."""
        return self._client().isdir(filepath)

    def isfile(self, filepath: FilePath) -> bool:
        """True for an object."""
        return self._client().isfile(filepath)

    def join_path(self, filepath: FilePath, *filepaths: FilePath) -> str:
        """The components, mapped, with one slash between each two of them; a slash that begins one adds none."""
        return self._client().join_path(filepath, *(str(path).lstrip("/\\") for path in filepaths))

    def get_local_path(self, filepath: FilePath) -> AbstractContextManager[str]:
        """A temporary file with the content and the extension of the object, removed at the end of the block."""
        return self._client().get_local_path(filepath)

    def remove(self, filepath: FilePath) -> None:
        """Delete the object. One that is not there is no error."""
        self._client().remove(filepath)

    def list_dir_or_file(
        self,
        dir_path: FilePath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffix | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """What is in a directory, as paths relative to it, in order of name; directories end with a slash.

        Raises:
            TypeError: at the call, as in OpenMMLab: `suffix` together with `list_dir`, or neither string nor tuple.
        """
        if list_dir and suffix is not None:
            raise TypeError("`list_dir` should be False when `suffix` is not None")
        if suffix is not None and not isinstance(suffix, str | tuple):
            raise TypeError("`suffix` must be a string or tuple of strings")
        return self._client().list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)

    def _client(self) -> StorageBackend:
        return FileClient("aws", **self._arguments).client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._client()!r}>"
