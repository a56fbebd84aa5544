"""`path_mapping`: where the paths of a config lie on S3. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
        ConfigError: not a dict of strings, an empty key, a key that is a URI, or a target that is none.
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

    def resolve(self, path: str | Path, scheme: str) -> str:
        """The URI that is meant by a path of a config, backslashes and all.

        ``cluster:s3://bucket/key`` is how petrel's users name one of several clusters; here the endpoint does.

        Raises:
            ConfigError: the path is neither a URI of this scheme (``s3://``) nor mapped to one.
        """
        mapped = self.apply(_with_slashes(path))
        cluster, found, rest = mapped.partition(scheme)
        if not found or not (cluster == "" or cluster.endswith(":")):
            raise ConfigError(f"{str(path)!r} is neither {scheme}bucket/key nor mapped to it by {self!r}")
        return f"{scheme}{rest}"

    def join(self, path: str | Path, *paths: str | Path) -> str:
        """The components with one slash between each two of them, mapped as a whole; without a slash at the end.

        A component that is a URI begins anew, as an absolute path does for `os.path.join`.
        """
        joined = _with_slashes(path)
        for part in map(_with_slashes, paths):
            joined = part if "://" in part else f"{joined.removesuffix('/')}/{part.lstrip('/')}"
        return self.apply(joined).removesuffix("/")

    def __repr__(self) -> str:
        return f"PathMapping({dict(self._pairs)!r})"


def _with_slashes(path: str | Path) -> str:
    # As in mmcv: label files are written on Windows, too.
    return str(path).replace("\\", "/")


def _pair(start: object, target: object) -> tuple[str, str]:
    if not isinstance(start, str) or not isinstance(target, str):
        raise ConfigError(f"path_mapping must be a dict of paths to URIs, not {start!r}: {target!r}")
    if not start.removeprefix("./"):
        raise ConfigError(f"path_mapping: the path of {start!r}: {target!r} is empty")
    if "://" in start:
        raise ConfigError(f"path_mapping: {start!r} is a URI, and URIs are never mapped; map paths, or name {target!r}")
    if "://" not in target:
        raise ConfigError(f"path_mapping[{start!r}] must be a URI such as 's3://bucket/prefix', not {target!r}")
    return start.removeprefix("./").rstrip("/"), target.rstrip("/")
