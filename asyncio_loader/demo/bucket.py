"""The demo's bucket: the data set goes in, checkpoints and logs come out."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.demo.screen import Advance
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store

__all__ = ["DATA_ROOT", "RUNS_ROOT", "DemoBucket"]

DATA_ROOT = "s3://demo-bucket/synthetic/"
RUNS_ROOT = "s3://demo-bucket/runs/"

# PUTs at a time: moto answers some hundred per second, whatever one does.
_UPLOADS = 16
_COPY_BYTES = 1024 * 1024


class DemoBucket:
    """A bucket on one server; credentials are the environment's."""

    def __init__(self, endpoint_url: str) -> None:
        # Said although the environment says it too: a file client that is shared in this process may know another.
        self.file_client_args: dict[str, Any] = {"backend": "aws", "endpoint_url": endpoint_url}
        self._options = S3Options(endpoint_url=endpoint_url)
        self._client = FileClient(**self.file_client_args)

    def upload(self, files: Sequence[Path], directory: Path, advance: Advance) -> None:
        """Make the bucket and put files into it, by their paths relative to the directory."""
        loop_thread = LoopThread("demo-upload")
        store = S3Store(self._options)
        try:
            loop_thread.run(_put_all(store, files, directory, advance))
        finally:
            loop_thread.close(store.aclose)

    def files(self) -> list[str]:
        """What runs have left, relative to `RUNS_ROOT`."""
        return sorted(self._client.list_dir_or_file(RUNS_ROOT, list_dir=False, recursive=True))

    def fetch(self, uri: str, directory: Path) -> None:
        """Copy an object into a directory: the bucket is gone after the demo."""
        with self._client.open(uri) as source, (directory / uri.rpartition("/")[2]).open("wb") as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)


async def _put_all(store: S3Store, files: Sequence[Path], directory: Path, advance: Advance) -> None:
    await store.create_bucket(DATA_ROOT)
    remaining, done = iter(files), itertools.count(1)

    async def put_some() -> None:
        for path in remaining:
            await store.put(DATA_ROOT + path.relative_to(directory).as_posix(), path.read_bytes())
            advance(next(done), path.name)

    async with asyncio.TaskGroup() as group:
        for worker in range(_UPLOADS):
            group.create_task(put_some(), name=f"upload-{worker}")
