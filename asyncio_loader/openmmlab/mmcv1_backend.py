"""The storage backend ``aws`` of mmcv 1.x."""

from __future__ import annotations

from mmcv.fileio import BaseStorageBackend

from asyncio_loader.openmmlab.files import ObjectFiles

__all__ = ["AWSBackend"]


class AWSBackend(ObjectFiles, BaseStorageBackend):  # type: ignore[misc]  # mmcv ships no types
    """S3 for mmcv 1.x: ``file_client_args=dict(backend="aws", path_mapping=…)``, or ``s3://`` alone.

    Arguments as `ObjectFiles`. Any thread may call it. As the tutorial for mmcv 1.x has it, `get` gives a memoryview
    and the directories of `list_dir_or_file` end with a slash.
    """
