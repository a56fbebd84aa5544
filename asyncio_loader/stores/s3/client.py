"""The client of botocore for what carries no bytes of objects: set up as the requests that we sign ourselves.

botocore itself signs for this machine's time whatever the server says of it, and takes an expired token for final.
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import aioboto3
import botocore.auth
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.credentials import ReadOnlyCredentials
from botocore.handlers import set_operation_specific_signer

from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.basis import MOST_SIGNATURES, Basis, is_mended
from asyncio_loader.stores.s3.clock import ServerClock
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.faults import Refusal, parse_date
from asyncio_loader.stores.s3.redaction import keep_out_of_logs, keep_proxy_out_of_logs
from asyncio_loader.stores.s3.site import Site

__all__ = ["make_client"]

# Under this name botocore knows `_ClockedAuth`.
_SIGNER = "asyncio-loader-s3v4"

# In a request's context: what it was signed with, and how often it was signed anew.
_BASIS = "asyncio-loader-basis"
_MENDED = "asyncio-loader-mended"


def make_client(
    site: Site, credentials: Credentials | None, clock: ServerClock, profile_name: str | None, timeouts: RetryPolicy
) -> AbstractAsyncContextManager[Any]:
    """A context manager with the client.

    Args:
        site: where S3 is.
        credentials: None for anonymous requests.
        clock: the time of the signatures.
        profile_name: see `S3Options`.
        timeouts: of connections; `max_attempts` is botocore's number of tries.
    """
    if site.proxy is not None:
        keep_proxy_out_of_logs(site.proxy)
    session = AioSession(profile=profile_name)
    session.register_component("credential_provider", _Provider(credentials, clock))
    if credentials is not None:
        session.register("choose-signer.s3", _choose_signer)
        session.register("needs-retry.s3", partial(_mend, credentials, clock))
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

    def __init__(self, credentials: Credentials | None, clock: ServerClock) -> None:
        self._credentials = credentials
        self._clock = clock

    async def load_credentials(self) -> AioCredentials | None:
        return _SharedCredentials(self._credentials, self._clock) if self._credentials is not None else None


class _SharedCredentials(AioCredentials):  # type: ignore[misc]  # botocore ships no types
    """Hands botocore the keys that the GETs use, renewed with them."""

    def __init__(self, credentials: Credentials, clock: ServerClock) -> None:
        super().__init__("shared", "shared", method="asyncio-loader")
        self._credentials = credentials
        self._clock = clock

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        keys = self._credentials.fresh_keys() or await self._credentials.renew_keys()
        if keys.token is not None:
            keep_out_of_logs(keys.token)
        frozen = _Frozen(keys.key_id, keys.secret, keys.token)
        frozen.basis = Basis(keys, self._clock.offset_s)
        return frozen


class _Frozen(ReadOnlyCredentials):  # type: ignore[misc]
    """botocore's form of the keys of a signature.

    Attributes:
        basis: the same in ours.
    """

    basis: Basis

    def __repr__(self) -> str:
        return "<Keys>"


class _ClockedAuth(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
    """Signs for the server's time, and notes what with."""

    def _modify_request_before_signing(self, request: Any) -> None:
        basis = self.credentials.basis
        request.context[_BASIS] = basis
        now_s = time.time() + basis.offset_s
        request.context["timestamp"] = time.strftime(botocore.auth.SIGV4_TIMESTAMP, time.gmtime(now_s))
        super()._modify_request_before_signing(request)


botocore.auth.AUTH_TYPE_MAPS[_SIGNER] = _ClockedAuth


def _choose_signer(signature_version: str, **about: Any) -> str:
    """Handler of botocore's: `_ClockedAuth` for what would be signed with version 4."""
    chosen: str = set_operation_specific_signer(signature_version=signature_version, **about) or signature_version
    return _SIGNER if chosen == "s3v4" else chosen


async def _mend(
    credentials: Credentials, clock: ServerClock, *, response: Any, request_dict: Any, **_: Any
) -> int | None:
    """Handler of botocore's: 0 to send a refused request once more, signed anew; None: that would not help."""
    context = request_dict["context"]
    mended = context.get(_MENDED, 0)
    if response is None or _BASIS not in context or mended + 1 >= MOST_SIGNATURES:
        return None
    http, document = response
    if http.status_code < 400:
        return None
    code = str(document.get("Error", {}).get("Code", ""))
    date_s = parse_date(http.headers.get("date", ""))
    refusal = Refusal(http.status_code, "" if code.isdigit() else code, date_s=date_s)
    if not await is_mended(refusal, context[_BASIS], credentials, clock):
        return None
    context[_MENDED] = mended + 1
    return 0


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
