"""Who asks: botocore's chain, asked off the loop; its keys are renewed before they expire, and when they have."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

import botocore.exceptions
from botocore.session import Session

from asyncio_loader.errors import AccessDenied, ConfigError, ConnectionLost, FetchError, LoaderError
from asyncio_loader.stores.s3.sigv4 import Keys

__all__ = ["Credentials"]

_LOG = logging.getLogger(__name__)

# How often refreshable credentials are asked whether they near their end. botocore calls for new ones 15 minutes ahead
# (from then on we ask in the background), and insists 10 minutes ahead (from then on requests wait for the answer).
# After a renewal that failed while the old keys still serve, it is also the pause before the next one.
_CHECK_S = 30.0
_INSIST_S = 600

# Whoever hands out keys and fails is asked again after a second, two, four and so on up to half a minute.
_PAUSE_S = 1.0
_MOST_PAUSE_S = 30.0

_SOURCES = (
    "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), profile {profile!r} of ~/.aws/credentials and"
    " ~/.aws/config, SSO, web identity, container and instance metadata"
)

_UNREACHABLE = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.MetadataRetrievalError,
)

# What botocore's providers raise beside its own errors: a file or command that is not there, an answer that is no JSON,
# lacks a field or has another shape, new keys that are expired themselves (a wrong clock), no terminal to ask for the
# code of an MFA device at.
_UNTOLD = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError)

# By the names that botocore gives its providers.
_RENEWALS = {
    "env": "the keys come from the environment (AWS_SESSION_TOKEN), which only a new start of the program renews",
    "shared-credentials-file": "renew profile {profile!r} in ~/.aws/credentials, which is read again by itself",
    "config-file": "renew profile {profile!r} in ~/.aws/config, which is read again by itself",
    "sso": "run aws sso login for profile {profile!r}; the new token is found by itself",
    "custom-process": "look at the credential_process of profile {profile!r}: it gave the same keys again",
}


class _Found(NamedTuple):
    source: Any
    keys: Keys


class Credentials:
    """The keys of one account, renewed in time. Belongs to one loop; never pickled.

    However many ask for new keys, one of them is served by the chain and the others by its answer, also when that is
    an error: then nobody asks again for a second, after the next failure for two, and so on up to half a minute.
    Cancelling a caller leaves the renewal to the others.

    Args:
        session: botocore's, with the profile set.
        profile: its name, for messages.
    """

    def __init__(self, session: Session, profile: str) -> None:
        self._session = session
        self._profile = profile
        self._source: Any = None
        self._keys: Keys | None = None
        # The keys, while the server is known to refuse them and there are no others.
        self._refused: Keys | None = None
        self._check_at_s = 0.0
        self._ask_at_s = 0.0
        self._failures = 0
        self._error: LoaderError | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._now_s: Callable[[], float] = self._loop.time

    def fresh_keys(self) -> Keys | None:
        """The keys, if no request need wait for newer ones. Costs next to nothing; None: `renew_keys`."""
        if self._now_s() < self._check_at_s:
            return self._keys
        if self._keys is None or self._keys is self._refused:
            return None
        if self._is_due(None):
            if self._is_due(_INSIST_S):
                return None
            self._renew()
        self._check_at_s = self._now_s() + _CHECK_S
        return self._keys

    async def renew_keys(self) -> Keys:
        """Keys that are good for a while.

        Raises:
            AccessDenied: the chain found nothing, or what it found is of no use.
            ConfigError: there is no such profile, or the AWS config files are broken.
            ConnectionLost: the service that hands them out does not answer.
        """
        keys = self.fresh_keys()
        if keys is None:
            if self._renewal is not None or self._now_s() >= self._ask_at_s:
                await asyncio.shield(self._renew())
            if self._error is not None and not self._is_usable():
                raise _copy(self._error)
            assert self._keys is not None
            keys = self._keys
        return keys

    async def replace(self, refused: Keys) -> Keys:
        """Newer keys than these, which the server refuses; the same, if there are none.

        The chain is asked as if for the first time: files and variables may have been written anew.

        Raises: see `renew_keys`.
        """
        while self._keys is refused and (self._renewal is not None or self._now_s() >= self._ask_at_s):
            if self._renewal is None:
                self._refused = refused
                # Requests that begin now need not be refused, too.
                self._check_at_s = 0.0
            await asyncio.shield(self._renew())
        if self._keys is not refused:
            return await self.renew_keys()
        if self._error is not None:
            raise _copy(self._error)
        return refused

    @property
    def renewal(self) -> str:
        """How the user comes by newer keys, where this cannot."""
        text = _RENEWALS.get(self._method(), "whoever hands out the keys of profile {profile!r} gave the same again")
        return text.format(profile=self._profile)

    @property
    def origin(self) -> tuple[str, float | None]:
        """Which of botocore's providers the keys come from, and when they expire, in seconds since 1970.

        None: never, or the provider does not say.
        """
        # There is no public name for it.
        expiry = getattr(self._source, "_expiry_time", None)
        return self._method(), expiry.timestamp() if isinstance(expiry, datetime) else None

    async def aclose(self) -> None:
        """End a renewal under way; whoever waits for it gets an error. Its thread may take a while longer."""
        renewal = self._renewal
        if renewal is not None:
            renewal.cancel()
            await asyncio.wait([renewal])

    def __repr__(self) -> str:
        return f"<Credentials of profile {self._profile!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled: each process finds its own")

    def _method(self) -> str:
        return str(getattr(self._source, "method", ""))

    def _is_due(self, ahead_s: int | None) -> bool:
        """Whether they expire within so many seconds (None: within the 15 minutes of botocore's advice)."""
        refresh_needed = getattr(self._source, "refresh_needed", None)
        return refresh_needed is not None and bool(refresh_needed(ahead_s))

    def _is_usable(self) -> bool:
        return self._keys is not None and self._keys is not self._refused and not self._is_due(0)

    def _renew(self) -> asyncio.Task[None]:
        """The renewal under way, or a new one."""
        if self._renewal is None:
            self._renewal = self._loop.create_task(self._ask(), name="renew AWS credentials")
        return self._renewal

    async def _ask(self) -> None:
        try:
            found = await asyncio.to_thread(self._look_up, is_anew=self._refused is not None)
        except asyncio.CancelledError:
            # By `aclose`; who waits shall hear of it as of an error, for nobody cancels them.
            self._error = FetchError("the store was closed while it renewed its credentials")
            self._ask_at_s = math.inf
        except LoaderError as error:
            self._fail(error)
        else:
            self._take(found)
        finally:
            self._renewal = None

    def _take(self, found: _Found) -> None:
        self._source = found.source
        self._error = None
        # Kept as the same object where they are the same, so that signers stay.
        if self._keys is None or not _is_same(found.keys, self._keys):
            self._keys = found.keys
        self._check_at_s = self._now_s() + _CHECK_S
        if self._keys is self._refused:
            # There are no others. Whether the server still refuses them is for the next request to find out.
            self._pause()
        else:
            self._failures = 0
        self._refused = None

    def _fail(self, error: LoaderError) -> None:
        self._error = error
        self._pause()
        if self._is_usable():
            self._check_at_s = self._now_s() + _CHECK_S
            level = logging.WARNING if self._failures == 1 else logging.DEBUG
            _LOG.log(level, "%s; the old keys still serve, and new ones are asked for again", error)

    def _pause(self) -> None:
        self._ask_at_s = self._now_s() + min(_MOST_PAUSE_S, _PAUSE_S * 2.0 ** min(self._failures, 64))
        self._failures += 1

    def _look_up(self, *, is_anew: bool) -> _Found:
        """Ask the chain; `is_anew`: as if for the first time. In a thread; it changes nothing here."""
        source = self._source
        method = self._method()
        try:
            if is_anew:
                # A session keeps what it has read, and trusts keys until they expire.
                source = Session(profile=self._session.instance_variables().get("profile")).get_credentials()
            elif source is None:
                source = self._session.get_credentials()
            if source is None:
                raise AccessDenied(
                    f"no AWS credentials: looked in {_SOURCES.format(profile=self._profile)}; for a public bucket set"
                    " S3Options.anonymous"
                )
            method = str(getattr(source, "method", ""))
            frozen = source.get_frozen_credentials()
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise _error_of(error, self._label(method)) from None
        except LoaderError:
            # AccessDenied is an OSError, too.
            raise
        except _UNTOLD as error:
            # No text of it: an answer that cannot be read holds keys.
            raise AccessDenied(f"{self._label(method)}: {_reason(error)}") from None
        if not frozen.access_key or not frozen.secret_key:
            raise AccessDenied(f"{self._label(method)} have no key or no secret")
        return _Found(source, Keys(frozen.access_key, frozen.secret_key, frozen.token))

    def _label(self, method: str) -> str:
        return f"AWS credentials of profile {self._profile!r}{f' ({method})' if method else ''}"


def _is_same(one: Keys, other: Keys) -> bool:
    return (one.key_id, one.secret, one.token) == (other.key_id, other.secret, other.token)


def _copy(error: LoaderError) -> LoaderError:
    """One for each who waited: an error that is raised in many tasks gathers the tracebacks of all."""
    return type(error)(*error.args)


def _reason(error: Exception) -> str:
    match error:
        case OSError():
            place = f" {error.filename!r}" if error.filename else ""
            return f"{error.strerror or type(error).__name__}{place}"
        case RuntimeError():
            return f"{' '.join(str(error).split())}; look at this machine's clock"
        case EOFError():
            return "the profile wants a code (mfa_serial), and there is no terminal to ask for it at"
    return f"the answer cannot be read ({type(error).__name__})"


def _error_of(
    error: botocore.exceptions.ClientError | botocore.exceptions.BotoCoreError, label: str
) -> AccessDenied | ConfigError | ConnectionLost:
    if isinstance(error, botocore.exceptions.ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        return AccessDenied(f"{label}: {error.operation_name}: {code}")
    # Of a command's error output not all.
    text = " ".join(str(error).split())[:300]
    if isinstance(error, botocore.exceptions.ConfigParseError | botocore.exceptions.ProfileNotFound):
        return ConfigError(f"AWS configuration: {text}")
    if isinstance(error, _UNREACHABLE):
        return ConnectionLost(f"{label}: {text}")
    return AccessDenied(f"{label}: {text}")
