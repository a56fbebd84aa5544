"""One table from what S3 answers, and from what a connection does, to the error tree. Pure.

Sources of the codes: "Error responses", Amazon S3 API Reference, and what moto, rclone and MinIO send. Messages are one
line: ``s3://bucket/key: what (HTTP 403 SignatureDoesNotMatch); what to look at``. Of an error document only code,
message and region are read: the rest repeats the request, session token included.

What throttles: the codes that the AWS SDKs call throttling (botocore, ``retries/standard.py``) as far as a store can
send them, MinIO's and Ceph's of that kind, 429, and a 503 that says by ``Retry-After`` when to come again. What passes:
their transient codes and statuses.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from asyncio_loader.errors import (
    AccessDenied,
    ChecksumMismatch,
    ConfigError,
    FetchError,
    FetchTimeout,
    LoaderError,
    ObjectChanged,
    ObjectNotFound,
    ServerFault,
    ShortRead,
    Throttled,
)

__all__ = ["ERROR_BODY_BYTES", "Refusal", "error_of", "parse_date", "parse_refusal"]

ERROR_BODY_BYTES = 64 * 1024
"""As much of an error document as is read; S3's are below 2 KB."""

_REGION_HEADER = "x-amz-bucket-region"
_LOCATION = re.compile(r"https?://([A-Za-z0-9.\-]+(?::[0-9]+)?)(?=/|$)")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not the wanted one.

    Attributes:
        status: the HTTP status.
        code: S3's error code; empty where there is no error document, as after HEAD.
        message: S3's own words, one line.
        region: the bucket's region, where the server told it.
        host: of the Location header; empty where there is none.
        date_s: the server's time, in seconds since 1970; None where it does not tell.
        retry_after_s: seconds until it wants to be asked again; None where it does not say.
    """

    status: int
    code: str = ""
    message: str = ""
    region: str = ""
    host: str = ""
    date_s: float | None = None
    retry_after_s: float | None = None

    @property
    def is_of_time(self) -> bool:
        """Whether it says that the request was signed for another time than the server's."""
        return self.code in _WRONG_TIME

    def is_of_keys(self, *, has_token: bool) -> bool:
        """Whether newer keys may get another answer. To a HEAD with an old token S3 says 400 and no more."""
        return self.code in _OLD_KEYS or (has_token and self.status == 400 and not self.code)

    def is_elsewhere(self, region: str) -> bool:
        """Whether it says that the bucket is at another endpoint, or not in the region that was asked."""
        if self.code in _ELSEWHERE or self.status in (301, 307, 308):
            return True
        return self.status == 400 and self.region not in ("", region)


def parse_refusal(
    status: int, reason: str, headers: Mapping[str, str], body: bytes, now_s: float | None = None
) -> Refusal:
    """Read an error response; `now_s` is the time of whose answer has no date.

    No XML parser: four fields of a flat document don't need one, and a broken document must do no harm.
    """
    text = body[:ERROR_BODY_BYTES].decode("utf-8", "replace")
    code = _field(text, "Code")
    # HEAD has no document; the reason phrase is all that tells a throttled one.
    if not code and status == 503 and reason.lower() == "slow down":
        code = "SlowDown"
    region = headers.get(_REGION_HEADER, "") or _field(text, "Region")
    location = _LOCATION.match(headers.get("location", ""))
    host = location[1].lower() if location else ""
    date_s = parse_date(headers.get("date", ""))
    later_s = _parse_retry_after(headers.get("retry-after", ""), now_s if date_s is None else date_s)
    return Refusal(status, code, _field(text, "Message"), region, host, date_s, later_s)


def parse_date(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date (RFC 9110, section 5.6.7); None if it is none."""
    try:
        date = parsedate_to_datetime(text)
        # Without a zone ("-0000") it is UTC, not the time of this place.
        return (date if date.tzinfo is not None else date.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parse_retry_after(text: str, now_s: float | None) -> float | None:
    """Seconds (RFC 9110, section 10.2.3): a number of them, or a date."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    date_s = parse_date(text)
    return None if date_s is None or now_s is None else max(0.0, date_s - now_s)


def error_of(uri: str, refusal: Refusal, *, region: str, action: str = "", renewal: str = "") -> LoaderError:
    """The error that an answer means.

    Args:
        uri: what the request was about.
        refusal: what came.
        region: the one the request was signed for.
        action: the permission it needs, as policies name it: ``s3:PutObject``.
        renewal: how to come by newer keys.
    """
    label = f"HTTP {refusal.status} {refusal.code}".rstrip()
    if refusal.is_elsewhere(region):
        there = f"is in region {refusal.region!r}" if refusal.region else "is in another region or at another endpoint"
        return ConfigError(
            f"{uri}: the bucket {there}, the request was for {region!r} ({label}); set S3Options.region_name"
            " (AWS_REGION, or the profile's region)"
        )
    if refusal.code == "InvalidBucketName":
        return ConfigError(f"{uri}: the server takes no such bucket name ({label})")
    kind, what, advice = found = _BY_CODE.get(refusal.code) or _by_status(refusal)
    if found == _NO_PERMISSION:
        advice = _permission_advice(action)
    if found == _EXPIRED and renewal:
        advice = renewal
    if kind is Throttled:
        later_s = refusal.retry_after_s
        rest = "" if later_s is None else f" and none for {later_s:g} s"
        return Throttled(f"{uri}: {what}{rest} ({label})", key=uri, retry_after_s=later_s)
    return kind(f"{uri}: {what} ({label}){'; ' if advice else ''}{advice}", key=uri)


def _permission_advice(action: str) -> str:
    """Only what reads an object is also refused because the object is not there."""
    advice = f"the credentials may not do this ({action})" if action else "the credentials may not do this"
    if action not in ("", "s3:GetObject"):
        return advice
    return (
        f"{advice}, or the object does not exist and they may not list the bucket"
        " (for a public bucket: S3Options.anonymous)"
    )


def _by_status(refusal: Refusal) -> tuple[type[FetchError], str, str]:
    if refusal.status in _BY_STATUS:
        return _BY_STATUS[refusal.status]
    if refusal.status == 503 and refusal.retry_after_s is not None:
        return _THROTTLED
    if refusal.status in _PASSING:
        return ServerFault, refusal.message or "the server failed", ""
    # 501, 505 and the like among them, which stay as they are however often one asks.
    return FetchError, refusal.message or "the server refuses the request", ""


def _field(text: str, name: str) -> str:
    match = re.search(f"<{name}>([^<]*)</{name}>", text)
    # It ends up in logs and terminals.
    return "".join(filter(str.isprintable, " ".join(match[1].split())))[:200] if match else ""


_ELSEWHERE = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    }
)

_WRONG_TIME = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})

# Expired; or replaced by others, as keys are that an administrator rotates.
_OLD_KEYS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "InvalidTokenId",
        "TokenRefreshRequired",
    }
)

_SECONDS = re.compile(r"[0-9]{1,9}")

# What another try may cure ("Error responses": InternalError, ServiceUnavailable, and those of proxies in between).
_PASSING = frozenset({500, 502, 503, 504})

_NO_PERMISSION = (AccessDenied, "access denied", "")
_EXPIRED = (AccessDenied, "the session token is expired or not valid", "renew the credentials (aws sso login, …)")
_THROTTLED = (Throttled, "the server asks for fewer requests", "")
_CHANGED = (ObjectChanged, "another version has taken its place while it was read", "")
_SLOW_REQUEST = (FetchTimeout, "the server waited too long for the request", "")

_BY_CODE: dict[str, tuple[type[FetchError], str, str]] = {
    "NoSuchKey": (ObjectNotFound, "no such object", ""),
    "NoSuchBucket": (ObjectNotFound, "no such bucket", "look at the URI, S3Options.endpoint_url and the profile"),
    "NoSuchVersion": (ObjectNotFound, "no such object", ""),
    "NoSuchUpload": (FetchError, "the multipart upload was aborted", ""),
    "AccessDenied": _NO_PERMISSION,
    "AllAccessDisabled": (AccessDenied, "all access to it is disabled", ""),
    "AccountProblem": (AccessDenied, "the account has a problem", ""),
    "InvalidAccessKeyId": (
        AccessDenied,
        "the server does not know the access key",
        "look at AWS_ACCESS_KEY_ID, S3Options.profile_name and S3Options.endpoint_url",
    ),
    "SignatureDoesNotMatch": (
        AccessDenied,
        "the signature is wrong",
        "look at AWS_SECRET_ACCESS_KEY, S3Options.region_name, and whether a proxy changes the request",
    ),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "InvalidTokenId": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": (
        AccessDenied,
        "this machine's clock and the server's are too far apart",
        "set the clock (NTP); S3 allows 15 minutes",
    ),
    "RequestExpired": (AccessDenied, "the request is too old for the server", "set the clock (NTP)"),
    "RequestInTheFuture": (AccessDenied, "the request is too new for the server", "set the clock (NTP)"),
    "InvalidObjectState": (AccessDenied, "the object is archived", "restore it from Glacier first"),
    "SlowDown": _THROTTLED,
    "SlowDownRead": _THROTTLED,
    "SlowDownWrite": _THROTTLED,
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "ThrottledException": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "RequestThrottledException": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "TooManyRequests": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "LimitExceededException": _THROTTLED,
    "RateLimitExceeded": _THROTTLED,
    "BandwidthLimitExceeded": _THROTTLED,
    "RequestTimeout": _SLOW_REQUEST,
    "RequestTimeoutException": _SLOW_REQUEST,
    "PriorRequestNotComplete": (ServerFault, "the server is still busy with an earlier request", ""),
    "PreconditionFailed": _CHANGED,
    "EntityTooLarge": (FetchError, "the object or part is larger than the server takes", ""),
    "EntityTooSmall": (FetchError, "a part is smaller than the server takes", "look at S3Options.part_size_bytes"),
    "IncompleteBody": (ShortRead, "the server got less than was announced", ""),
    "BadDigest": (ChecksumMismatch, "the server got other bytes than were sent", ""),
    "XAmzContentSHA256Mismatch": (ChecksumMismatch, "the server got other bytes than were sent", ""),
}

_BY_STATUS: dict[int, tuple[type[FetchError], str, str]] = {
    401: _NO_PERMISSION,
    403: _NO_PERMISSION,
    404: (ObjectNotFound, "no such object or bucket", ""),
    407: (AccessDenied, "the proxy wants other credentials", "look at user and password in HTTP_PROXY"),
    408: _SLOW_REQUEST,
    412: _CHANGED,
    429: _THROTTLED,
}
