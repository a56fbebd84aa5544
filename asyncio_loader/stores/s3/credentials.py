"""Who asks: botocore's chain, asked off the loop, its answer kept until shortly before it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import botocore.exceptions
from botocore.session import Session

from asyncio_loader.errors import AccessDenied, ConfigError, ConnectionLost
from asyncio_loader.stores.s3.sigv4 import Keys

__all__ = ["Credentials"]

# How often refreshable credentials are asked whether they near their end; botocore wants that 15 minutes ahead. After
# a refresh that failed while the old keys still serve, it is also the pause before the next try.
_CHECK_S = 30.0

_SOURCES = (
    "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), profile {profile!r} of ~/.aws/credentials and"
    " ~/.aws/config, SSO, web identity, container and instance metadata"
)

_UNREACHABLE = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.MetadataRetrievalError,
)


class Credentials:
    """The keys of one account, renewed in time. Belongs to one loop; never pickled.

    Concurrent callers share one refresh. Cancelling one leaves it to finish in its thread; the next caller asks anew
    and gets what that thread found.

    Args:
        session: botocore's, with the profile set.
        profile: its name, for messages.
    """

    def __init__(self, session: Session, profile: str) -> None:
        self._session = session
        self._profile = profile
        self._source: Any = None
        self._keys: Keys | None = None
        self._check_at_s = 0.0
        self._lock = asyncio.Lock()
        self._now_s: Callable[[], float] = asyncio.get_running_loop().time

    def fresh_keys(self) -> Keys | None:
        """The keys, if they need no renewal. Costs next to nothing; None: `renew_keys`."""
        if self._now_s() < self._check_at_s:
            return self._keys
        refresh_needed = getattr(self._source, "refresh_needed", None)
        if self._keys is None or (refresh_needed is not None and refresh_needed()):
            return None
        self._check_at_s = self._now_s() + _CHECK_S
        return self._keys

    async def renew_keys(self) -> Keys:
        """Ask the chain.

        Raises:
            AccessDenied: it found nothing, or what it found is of no use.
            ConfigError: there is no such profile, or the AWS config files are broken.
            ConnectionLost: the service that hands them out does not answer.
        """
        async with self._lock:
            keys = self.fresh_keys()
            if keys is None:
                keys = await asyncio.to_thread(self._ask)
                if self._keys is not None and _is_same(keys, self._keys):
                    # Kept as the same object, so that signers stay; renewal failed or was not due.
                    keys = self._keys
                self._keys = keys
                self._check_at_s = self._now_s() + _CHECK_S
            return keys

    def __repr__(self) -> str:
        return f"<Credentials of profile {self._profile!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled: each process finds its own")

    def _ask(self) -> Keys:
        try:
            if self._source is None:
                self._source = self._session.get_credentials()
            if self._source is None:
                raise AccessDenied(
                    f"no AWS credentials: looked in {_SOURCES.format(profile=self._profile)}; for a public bucket set"
                    " S3Options.anonymous"
                )
            frozen = self._source.get_frozen_credentials()
        except botocore.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise AccessDenied(
                f"AWS credentials of profile {self._profile!r}: {error.operation_name}: {code}"
            ) from None
        except botocore.exceptions.BotoCoreError as error:
            raise _error_of(error, self._profile) from None
        if not frozen.access_key or not frozen.secret_key:
            raise AccessDenied(f"the AWS credentials of profile {self._profile!r} have no key or no secret")
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)


def _is_same(one: Keys, other: Keys) -> bool:
    return (one.key_id, one.secret, one.token) == (other.key_id, other.secret, other.token)


def _error_of(error: botocore.exceptions.BotoCoreError, profile: str) -> Exception:
    text = " ".join(str(error).split())
    if isinstance(error, botocore.exceptions.ConfigParseError | botocore.exceptions.ProfileNotFound):
        return ConfigError(f"AWS configuration: {text}")
    if isinstance(error, _UNREACHABLE):
        return ConnectionLost(f"AWS credentials of profile {profile!r}: {text}")
    return AccessDenied(f"AWS credentials of profile {profile!r}: {text}")
