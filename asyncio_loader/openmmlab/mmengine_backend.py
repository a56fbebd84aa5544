"""The storage backend ``aws`` of mmengine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import SameFileError
from typing import TypeVar

from mmengine.fileio import BaseStorageBackend

from asyncio_loader.fileio.backends import FilePath, StorageBackend, Suffix
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.openmmlab.copying import copy_file, for_each, inside
from asyncio_loader.openmmlab.files import ObjectFiles

__all__ = ["AWSBackend"]

P = TypeVar("P", str, Path)


class AWSBackend(ObjectFiles, BaseStorageBackend):  # type: ignore[misc]  # mmengine ships no types
    """S3 for mmengine: ``backend_args=dict(backend="aws", path_mapping=…, endpoint_url=…)``, or ``s3://`` alone.

    Arguments as `ObjectFiles`. Any thread may call it. Names, results and errors are those of mmengine's own backends.
    """

    def get(self, filepath: FilePath) -> bytes:
        """See `ObjectFiles.get`; bytes, as with all backends of mmengine."""
        data = super().get(filepath)
        return data if isinstance(data, bytes) else bytes(data)

    def remove(self, filepath: FilePath) -> None:
        """Delete an object.

        Raises:
            IsADirectoryError: there is no such object, but there are some under it.
            FileNotFoundError: nothing is there.
        """
        if self.isfile(filepath):
            super().remove(filepath)
        elif self.isdir(filepath):
            raise IsADirectoryError(f"{self.join_path(filepath)} is a directory: rmtree removes it")
        else:
            raise FileNotFoundError(f"{self.join_path(filepath)} does not exist")

    def rmtree(self, dir_path: FilePath) -> None:
        """Delete what is in a directory, the empty objects that consoles make to mark directories included.

        Nothing there is no error. After an error any part of the tree is left; a second call goes on.
        """
        root = self.join_path(dir_path)
        # Directories are named with a slash here, as their marks are; a bucket has none.
        names = [*super().list_dir_or_file(root, recursive=True), *([""] if "/" in root.partition("://")[2] else [])]
        for_each(super().remove, (f"{root}/{name}" for name in names))

    def copyfile(self, src: FilePath, dst: FilePath) -> str:
        """Copy an object, into `dst` if that is a directory; returns the URI of the copy.

        Raises:
            SameFileError: source and copy are one.
        """
        source, target = self.join_path(src), self._file_at(dst, src)
        if source == target:
            raise SameFileError(f"{source} cannot be copied onto itself")
        copy_file(self._client(), source, self._client(), target)
        return target

    def copytree(self, src: FilePath, dst: FilePath) -> str:
        """Copy a directory; returns the URI of the copy.

        Raises:
            FileExistsError: something is at `dst`.
        """
        root, target, client = self.join_path(src), self._nothing_at(dst), self._client()
        for_each(lambda name: copy_file(client, f"{root}/{name}", client, f"{target}/{name}"), self._names(root))
        return target

    def copyfile_from_local(self, src: FilePath, dst: FilePath) -> str:
        """Upload a local file, into `dst` if that is a directory; returns the URI of the copy."""
        target = self._file_at(dst, src)
        copy_file(_disk(), str(src), self._client(), target)
        return target

    def copytree_from_local(self, src: FilePath, dst: FilePath) -> str:
        """Upload a local directory, hidden files included; returns the URI of the copy.

        Raises:
            FileExistsError: something is at `dst`.
        """
        target, client = self._nothing_at(dst), self._client()
        names = (path.relative_to(src).as_posix() for path in sorted(Path(src).rglob("*")) if path.is_file())
        for_each(lambda name: copy_file(_disk(), os.path.join(src, name), client, f"{target}/{name}"), names)
        return target

    def copyfile_to_local(self, src: FilePath, dst: P) -> P:
        """Download an object, into `dst` if that is a directory; returns the path of the copy, of `dst`'s type."""
        target = os.path.join(dst, os.path.basename(str(src))) if os.path.isdir(dst) else str(dst)
        copy_file(self._client(), self.join_path(src), _disk(), target)
        return type(dst)(target)

    def copytree_to_local(self, src: FilePath, dst: P) -> P:
        """Download a directory; returns `dst`.

        Raises:
            ConfigError: a key would lead out of `dst` (``..``). No such file is written.
        """
        root, client = self.join_path(src), self._client()
        names = map(inside, self._names(root))
        for_each(lambda name: copy_file(client, f"{root}/{name}", _disk(), os.path.join(dst, name)), names)
        return dst

    def copy_if_symlink_fails(self, src: FilePath, dst: FilePath) -> bool:
        """Copy a file or a directory, since S3 has no symbolic links; returns False, for "no link was made"."""
        if self.isfile(src):
            self.copyfile(src, dst)
        else:
            self.copytree(src, dst)
        return False

    def list_dir_or_file(
        self,
        dir_path: FilePath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffix | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """See `ObjectFiles.list_dir_or_file`; directories end without a slash, as with all backends of mmengine."""
        names = super().list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)
        return (name.removesuffix("/") for name in names)

    def _names(self, root: str) -> Iterator[str]:
        return self.list_dir_or_file(root, list_dir=False, recursive=True)

    def _file_at(self, dst: FilePath, src: FilePath) -> str:
        """Where a file goes: `dst`, or under its own name into it."""
        return self.join_path(dst, os.path.basename(str(src))) if self.isdir(dst) else self.join_path(dst)

    def _nothing_at(self, dst: FilePath) -> str:
        if self.exists(dst):
            raise FileExistsError(f"{self.join_path(dst)} exists already")
        return self.join_path(dst)


def _disk() -> StorageBackend:
    return FileClient("disk").client
