"""Puts S3 into the registries of mmengine and of mmcv 1.x, whichever is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

__all__ = ["register"]

_NAMES = ("aws", "s3")
_PREFIX = "s3"

# The very text, a regular expression, under which mmengine and mmcv have their own loader: equal keys replace.
_CHECKPOINT_SCHEME = r"(\S+\:)?s3://"


def register() -> tuple[str, ...]:
    """Make ``s3://`` ours in mmengine and mmcv 1.x: file clients, storage backends, checkpoint loaders.

    And `PrefetchDataset` with its hook, in mmengine. What had the prefix before (petrel, ceph) keeps its own name.
    Idempotent: where everything is in place nothing is touched, singletons included. Imports what it binds,
    ``mmengine.runner`` too, since checkpoint loaders live there.

    Returns:
        Which of ``"mmengine"`` and ``"mmcv1"`` are bound now.

    Raises:
        ImportError: neither is installed; says what to install.
    """
    found = tuple(name for name, (is_installed, _) in _PROJECTS.items() if is_installed())
    if not found:
        raise ImportError(
            "asyncio_loader.openmmlab puts s3:// into mmengine and mmcv 1.x, and neither is installed: "
            "`pip install onedl-mmengine` (or mmengine), or `pip install 'mmcv<2'`"
        )
    for name in found:
        _PROJECTS[name][1]()
    return found


def _has_mmengine() -> bool:
    return importlib.util.find_spec("mmengine") is not None


def _has_mmcv1() -> bool:
    # mmcv 2 gave its runner to mmengine. Looked for as a folder: importing mmcv takes a second.
    spec = importlib.util.find_spec("mmcv")
    places = (spec.submodule_search_locations if spec else None) or []
    return any((Path(place) / "runner").is_dir() for place in places)


def _bind_mmengine() -> None:
    from mmengine.fileio import FileClient, io, register_backend
    from mmengine.runner.checkpoint import CheckpointLoader

    # These two register themselves: a config names a PrefetchDataset by its type.
    from asyncio_loader.openmmlab import prefetch, prefetch_hook  # noqa: F401
    from asyncio_loader.openmmlab.checkpoint import load_from_s3
    from asyncio_loader.openmmlab.mmengine_backend import AWSBackend

    kinds = {io.prefix_to_backends.get(_PREFIX), FileClient._prefix_to_backends.get(_PREFIX)}
    if kinds != {AWSBackend}:
        for name in _NAMES:
            register_backend(name, AWSBackend, force=True, prefixes=_PREFIX)
            FileClient.register_backend(name, AWSBackend, force=True)
        # mmengine's FileClient drops the clients of a prefix that is taken by force, and then leaves the prefix as it
        # was (0.10.7 and all later ones): without this line CheckpointHook and LoggerHook ask for petrel_client.
        FileClient._prefix_to_backends[_PREFIX] = AWSBackend
        FileClient._instances.clear()
        io.backend_instances.clear()
    CheckpointLoader.register_scheme(_CHECKPOINT_SCHEME, load_from_s3, force=True)


def _bind_mmcv1() -> None:
    from mmcv.fileio import FileClient
    from mmcv.runner.checkpoint import CheckpointLoader

    from asyncio_loader.openmmlab.checkpoint import load_from_s3
    from asyncio_loader.openmmlab.mmcv1_backend import AWSBackend

    if FileClient._prefix_to_backends.get(_PREFIX) is not AWSBackend:
        for name in _NAMES:
            FileClient.register_backend(name, AWSBackend, force=True, prefixes=_PREFIX)
        FileClient._instances.clear()
    CheckpointLoader.register_scheme(_CHECKPOINT_SCHEME, load_from_s3, force=True)


_PROJECTS: dict[str, tuple[Callable[[], bool], Callable[[], None]]] = {
    "mmengine": (_has_mmengine, _bind_mmengine),
    "mmcv1": (_has_mmcv1, _bind_mmcv1),
}
