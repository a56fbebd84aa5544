"""The client of botocore for what carries no bytes of objects: set up as the requests that we sign ourselves."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.credentials import ReadOnlyCredentials

from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.site import Site

__all__ = ["make_client"]


def make_client(
    site: Site, credentials: Credentials | None, profile_name: str | None, timeouts: RetryPolicy
) -> AbstractAsyncContextManager[Any]:
    """A context manager with the client.

    Args:
        site: where S3 is.
        credentials: None for anonymous requests.
        profile_name: see `S3Options`.
        timeouts: of connections; `max_attempts` is botocore's number of tries.
    """
    session = AioSession(profile=profile_name)
    session.register_component("credential_provider", _Provider(credentials))
    client: AbstractAsyncContextManager[Any] = aioboto3.Session(botocore_session=session).client(
        "s3",
        region_name=site.region,
        endpoint_url=site.endpoint.url,
        verify=site.ca_bundle,
        config=_config(site, timeouts, is_anonymous=credentials is None),
    )
    return client


class _Provider:
    """Takes the place of botocore's own chain, which would be asked a second time."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> AioCredentials | None:
        return _SharedCredentials(self._credentials) if self._credentials is not None else None


class _SharedCredentials(AioCredentials):  # type: ignore[misc]  # botocore ships no types
    """Hands botocore the keys that the GETs use, renewed with them."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__("shared", "shared", method="asyncio-loader")
        self._credentials = credentials

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = self._credentials.fresh_keys() or await self._credentials.renew_keys()
        return ReadOnlyCredentials(keys.key_id, keys.secret, keys.token)


def _config(site: Site, timeouts: RetryPolicy, *, is_anonymous: bool) -> AioConfig:
    endpoint = site.endpoint
    signature = {"signature_version": UNSIGNED} if is_anonymous else {}
    style = (
        "virtual" if endpoint.addressing == "virtual" or (endpoint.addressing == "auto" and endpoint.is_aws) else "path"
    )
    return AioConfig(
        s3={"addressing_style": style},
        connect_timeout=timeouts.connect_timeout_s,
        read_timeout=timeouts.stall_timeout_s,
        retries={"mode": "standard", "total_max_attempts": timeouts.max_attempts},
        # As the GETs.
        proxies={endpoint.scheme: site.proxy} if site.proxy else {},
        # botocore's default since 1.36 sends CRC trailers that other servers than Amazon's mostly refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **signature,
    )
