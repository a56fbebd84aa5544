"""The checkpoint loader for ``s3://`` of mmengine and mmcv 1.x: behind ``load_from``, ``resume`` and ``Pretrained``."""

from __future__ import annotations

import os
from typing import Any

from asyncio_loader.checkpoint.reading import load_checkpoint
from asyncio_loader.fileio.file_client import FileClient

__all__ = ["load_from_s3"]

_TRUST = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def load_from_s3(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint as `torch.load` does, streamed: beside its tensors only a few parts of it are in memory.

    Endpoint and credentials come from the environment and the AWS config files: OpenMMLab hands a checkpoint loader a
    path and nothing else.

    Only what OpenMMLab's own checkpoints hold is unpickled, see `load_checkpoint`: a file on S3 is somebody's file, and
    a pickle is a program. Where torch's own variable ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`` is set, anything is.

    Args:
        filename: ``s3://bucket/key``.
        map_location: as `torch.load` has it.

    Raises:
        FetchError: a missing object raises ObjectNotFound, which is a FileNotFoundError.
        ConfigError: not a checkpoint, a broken one, or one with other Python objects in it.
    """
    with FileClient("aws").open(filename, "rb") as file:
        return load_checkpoint(
            file,
            filename,
            may_run_code=os.environ.get(_TRUST, "").lower() in ("1", "y", "yes", "true"),
            advice=f"set {_TRUST}=1",
            map_location=map_location,
        )
