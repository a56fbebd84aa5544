"""S3 as the dialect's storage backend ``aws``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.backends import FilePath
from asyncio_loader.fileio.objects import ObjectBackend
from asyncio_loader.hints import did_you_mean
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.address import parse_uri

if TYPE_CHECKING:
    from asyncio_loader.stores.s3.store import S3Store

__all__ = ["AwsBackend"]


class AwsBackend(ObjectBackend["S3Store"]):
    """Objects of S3 as files: ``s3://bucket/key``. See `ObjectBackend`.

    Args:
        path_mapping: see `PathMapping`.
        s3_options: fields of `S3Options`, by name.

    Raises:
        ConfigError: an unknown option, or a wrong value.
    """

    scheme = "s3://"

    def __init__(self, path_mapping: Mapping[str, str] | None = None, **s3_options: Any) -> None:
        super().__init__(path_mapping, _s3_options(s3_options))

    @property
    def options(self) -> S3Options:
        """Where S3 is."""
        return self._options

    def __repr__(self) -> str:
        return f"<AwsBackend {self._options!r} {self._mapping!r}>"

    def _new_store(self) -> S3Store:
        # Here, because aiohttp and botocore take a third of a second to import and a client of local files needs none.
        from asyncio_loader.stores.s3.store import S3Store

        return S3Store(self._options, timeouts=self._retry)

    def _uri(self, filepath: FilePath) -> str:
        uri = super()._uri(filepath)
        # Refuses one without a bucket, at once and for every call.
        parse_uri(uri)
        return uri

    async def _has_object(self, store: S3Store, uri: str) -> bool:
        return bool(parse_uri(uri)[1]) and await store.has_object(uri)

    async def _has_directory(self, store: S3Store, root: str) -> bool:
        return await (store.has_any(root) if parse_uri(root)[1] else store.has_bucket(root))


def _s3_options(given: dict[str, Any]) -> S3Options:
    known = S3Options.field_names()
    for name in given:
        if name not in known:
            hint = did_you_mean(name, [*known, "path_mapping"], f"known: path_mapping, {', '.join(sorted(known))}")
            raise ConfigError(f"file_client_args: backend 'aws' has no option {name!r} ({hint})")
    return S3Options(**given)
