"""What people ask about a service before they trust it with a run: where it is, who asks, and what it says first."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass
from typing import NamedTuple

from asyncio_loader.errors import ConnectionLost, LoaderError
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.addresses import Origin
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.exchange import Exchange, Slot
from asyncio_loader.stores.s3.faults import ERROR_BODY_BYTES, Refusal, error_of, parse_date, parse_refusal
from asyncio_loader.stores.s3.site import Site, resolve_site
from asyncio_loader.stores.s3.transport import Answer

__all__ = ["FirstAnswer", "Identity", "Inspection", "Whereabouts", "find_site"]

_EVERY_STATUS = tuple(range(200, 600))
_DONE = (200, 206, 416)

# A Date has whole seconds, cut off: on average the server's clock is half a second on.
_MEAN_CUT_S = 0.5

# Of a key id as much as tells one account's keys from another's; of a short one, nothing.
_SHOWN_CHARS = 4
_LEAST_KEY_CHARS = 16

# By the names that botocore gives its providers.
_SOURCES = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "shared-credentials-file": "profile {profile!r} in ~/.aws/credentials",
    "config-file": "profile {profile!r} in ~/.aws/config",
    "sso": "SSO, profile {profile!r}",
    "login": "aws login, profile {profile!r}",
    "assume-role": "the role that profile {profile!r} assumes",
    "assume-role-with-web-identity": "web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
    "container-role": "the container's metadata",
    "iam-role": "the instance's metadata (its IAM role)",
    "custom-process": "the credential_process of profile {profile!r}",
}


class Whereabouts(NamedTuple):
    """A service, and what named it.

    Attributes:
        site: the service.
        endpoint_source: which setting the endpoint comes from.
        region_source: which one the region comes from.
    """

    site: Site
    endpoint_source: str
    region_source: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks; nothing of it is secret.

    Attributes:
        source: where the keys come from, in words.
        key_id: beginning and end of the access key's id; empty where it is too short to be shown in part.
        expires_in_s: seconds until the keys expire; None where they don't, or nobody knows.
        is_temporary: whether there is a session token.
    """

    source: str
    key_id: str
    expires_in_s: float | None
    is_temporary: bool


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the server says to the first GET.

    Attributes:
        error: what it means, where it is not the object.
        is_of_keys: whether it is that the server does not take the keys.
        is_of_time: whether it is that the clocks are too far apart.
        is_no_bucket: whether it is that there is no such bucket.
        region: the bucket's, where the server told it and it is another one than was asked for.
        skew_s: the server's time minus this machine's, to half a second; None where it does not tell the time.
        elapsed_s: seconds from the question to the answer's head, with looking up, connecting and TLS.
    """

    error: LoaderError | None
    is_of_keys: bool
    is_of_time: bool
    is_no_bucket: bool
    region: str
    skew_s: float | None
    elapsed_s: float


def find_site(options: S3Options) -> Whereabouts:
    """Find the service as an `S3Store` does, and tell why it is this one. Reads files: not for the loop.

    Raises:
        ConfigError: see `resolve_site`.
    """
    site, session = resolve_site(options)
    profile = f"profile {site.profile!r}"
    in_profile = session.get_scoped_config()
    regions = (
        (options.region_name, "S3Options.region_name"),
        (os.environ.get("AWS_REGION"), "AWS_REGION"),
        (os.environ.get("AWS_DEFAULT_REGION"), "AWS_DEFAULT_REGION"),
        (in_profile.get("region"), profile),
    )
    is_ignored = session.get_config_variable("ignore_configured_endpoint_urls")
    endpoints = (
        (options.endpoint_url, "S3Options.endpoint_url"),
        (not is_ignored and os.environ.get("AWS_ENDPOINT_URL_S3"), "AWS_ENDPOINT_URL_S3"),
        (not is_ignored and os.environ.get("AWS_ENDPOINT_URL"), "AWS_ENDPOINT_URL"),
        (not site.endpoint.is_aws, profile),
    )
    return Whereabouts(
        site,
        next((source for value, source in endpoints if value), "Amazon's own"),
        next((source for value, source in regions if value), "the default"),
    )


class Inspection:
    """Questions to one S3 service, on the loop of its `S3Store`. Whatever comes through is raised as the store does."""

    def __init__(self, site: Site, credentials: Credentials | None, exchange: Exchange) -> None:
        self._site = site
        self._credentials = credentials
        self._exchange = exchange

    async def identify(self) -> Identity | None:
        """Who asks; None: nobody, requests are unsigned.

        Raises: see `Credentials.renew_keys`.
        """
        if self._credentials is None:
            return None
        keys = await self._credentials.renew_keys()
        method, expires_s = self._credentials.origin
        is_shown = len(keys.key_id) >= _LEAST_KEY_CHARS
        return Identity(
            _SOURCES.get(method, f"{method or 'a provider of yours'}, profile {{profile!r}}").format(
                profile=self._site.profile
            ),
            f"{keys.key_id[:_SHOWN_CHARS]}…{keys.key_id[-_SHOWN_CHARS:]}" if is_shown else "",
            None if expires_s is None else expires_s - time.time(),
            keys.token is not None,
        )

    async def look_up(self, uri: str) -> list[str]:
        """The addresses of the server that the URI's object is asked of, all that the name has.

        Raises:
            ConnectionLost: it has none.
        """
        address = self._site.endpoint.locate(uri)
        host, port = Origin.parse(address.host, address.scheme)
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ConnectionLost(f"{host} cannot be looked up ({reason or 'no possible name'})", key=uri) from error
        return list(dict.fromkeys(str(info[4][0]) for info in infos))

    async def ask(self, uri: str) -> FirstAnswer:
        """Get the first byte of an object, which need not exist, and tell what the server said, be it a refusal.

        One attempt, which is signed once: neither a region nor a time nor newer keys that the answer may call for are
        tried. Raises FetchError where there is no answer.
        """
        # A loop's own time may have no more than milliseconds.
        started_s = time.perf_counter()

        async def read(answer: Answer, _: Slot) -> tuple[Refusal, float | None, float]:
            elapsed_s = time.perf_counter() - started_s
            date_s = parse_date(answer.headers.get("date", ""))
            skew_s = None if date_s is None else date_s + _MEAN_CUT_S - time.time()
            if answer.status == 200:
                # The server cannot do ranges and sends all of it.
                answer.drop()
                return Refusal(200), skew_s, elapsed_s
            body = await _read_some(answer)
            if answer.status in _DONE:
                return Refusal(answer.status), skew_s, elapsed_s
            return parse_refusal(answer.status, answer.reason, answer.headers, body), skew_s, elapsed_s

        refusal, skew_s, elapsed_s = await self._exchange.run(
            "GET", uri, read, extra={"range": "bytes=0-0"}, wanted=_EVERY_STATUS
        )
        region = self._site.region
        is_of_keys = refusal.is_of_keys(has_token=False) or refusal.code == "SignatureDoesNotMatch"
        renewal = self._credentials.renewal if self._credentials is not None and is_of_keys else ""
        is_done = refusal.status in _DONE
        return FirstAnswer(
            None if is_done else error_of(uri, refusal, region=region, action="s3:GetObject", renewal=renewal),
            is_of_keys,
            refusal.is_of_time,
            refusal.code == "NoSuchBucket",
            refusal.region if refusal.region != region else "",
            skew_s,
            elapsed_s,
        )


async def _read_some(answer: Answer) -> bytes:
    body = bytearray()
    while len(body) < ERROR_BODY_BYTES and (piece := await answer.read()):
        body += piece
    return bytes(body)
