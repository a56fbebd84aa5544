"""`path_mapping`: where the paths of a config lie on S3. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from asyncio_loader.errors import ConfigError

__all__ = ["PathMapping"]


class PathMapping:
    """Replaces the beginning of a path: ``{"data/coco/": "s3://bucket/coco/"}``.

    mmcv's own replaces text anywhere in the string, and again in what it replaced before. This one

    * maps whole path components from the start of the path (``data/coco`` does not touch ``data/coco2``; a slash at
      the end of either side and a leading ``./`` make no difference);
    * lets the longest key win, in whatever order they stand;
    * leaves alone what has a scheme already, so that mapping twice is mapping once.

    Raises:
        ConfigError: not a dict of strings, an empty key, or a target without a scheme.
    """

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        if mapping is not None and not isinstance(mapping, Mapping):
            raise ConfigError(f"path_mapping must be a dict of paths to URIs, not {mapping!r}")
        self._pairs = sorted((_pair(*item) for item in (mapping or {}).items()), key=lambda pair: -len(pair[0]))

    def apply(self, path: str) -> str:
        """The path on S3, or the path itself where no key begins it."""
        if "://" in path:
            return path
        plain = path.removeprefix("./")
        for start, target in self._pairs:
            if plain == start or plain.startswith(f"{start}/"):
                return target + plain[len(start) :]
        return path

    def __repr__(self) -> str:
        return f"PathMapping({dict(self._pairs)!r})"


def _pair(start: object, target: object) -> tuple[str, str]:
    if not isinstance(start, str) or not isinstance(target, str):
        raise ConfigError(f"path_mapping must be a dict of paths to URIs, not {start!r}: {target!r}")
    if not start.removeprefix("./"):
        raise ConfigError(f"path_mapping: the path of {start!r}: {target!r} is empty")
    if "://" not in target:
        raise ConfigError(f"path_mapping[{start!r}] must be a URI such as 's3://bucket/prefix', not {target!r}")
    return start.removeprefix("./").rstrip("/"), target.rstrip("/")
