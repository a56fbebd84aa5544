"""Everything that the loader raises.

The tree::

    LoaderError
    ├── ConfigError (ValueError)            an argument, option or config entry is wrong; raised at once, never retried
    ├── FetchError                          an object could not be had; the policy `on_error` decides
    │   ├── ObjectNotFound (FileNotFoundError)
    │   ├── AccessDenied (PermissionError)  credentials missing, wrong, expired, or not allowed
    │   ├── Throttled                       the server asked for less (503 SlowDown, 429)
    │   ├── ServerFault                     500, 502, 503, 504, or an answer that is not HTTP or not S3
    │   ├── ConnectionLost (ConnectionError)
    │   ├── FetchTimeout (TimeoutError)
    │   ├── ShortRead                       the body ended before Content-Length
    │   ├── ChecksumMismatch
    │   └── ObjectChanged                   another version appeared while an object was read in parts
    ├── TransformError                      a transform failed on a sample; the policy `on_error` decides
    │   └── DecodeError                     the bytes are not an image, or a broken one
    ├── TooManyFailures                     the failure budget is used up
    └── StateMismatch                       a resume state belongs to another plan

Every class takes one positional message; the rest is keyword with a default. The message alone tells the whole story,
key and attempts included: torch rebuilds a DataLoader worker's exception as ``type(message)``, and attributes are
lost on that road. All of them pickle. None holds a secret.
"""

from __future__ import annotations

import copy
from typing import Self

__all__ = [
    "AccessDenied",
    "ChecksumMismatch",
    "ConfigError",
    "ConnectionLost",
    "DecodeError",
    "FetchError",
    "FetchTimeout",
    "LoaderError",
    "ObjectChanged",
    "ObjectNotFound",
    "ServerFault",
    "ShortRead",
    "StateMismatch",
    "Throttled",
    "TooManyFailures",
    "TransformError",
]


class LoaderError(Exception):
    """Root of all errors of this package."""

    def retold(self, message: str) -> Self:
        """The same error with another message, which holds this one's: raise it ``from error.__cause__``."""
        told = copy.copy(self)
        told.args = (message,)
        return told


class ConfigError(LoaderError, ValueError):
    """An argument, option or config entry is wrong. Names file, key, field and value."""


class FetchError(LoaderError):
    """An object could not be fetched.

    Attributes:
        key: URI of the object, or None where it is not known.
        attempts: number of requests made for it, from 1; 0 where none was made.
        elapsed_s: seconds from the first request to giving up.
    """

    def __init__(self, message: str = "", *, key: str | None = None, attempts: int = 0, elapsed_s: float = 0.0) -> None:
        super().__init__(message)
        self.key = key
        self.attempts = attempts
        self.elapsed_s = elapsed_s


class ObjectNotFound(FetchError, FileNotFoundError):
    """No such object, or no such bucket."""


class AccessDenied(FetchError, PermissionError):
    """The credentials are missing, wrong, expired, or not allowed to do this."""


class Throttled(FetchError):
    """The server asked for fewer requests (503 SlowDown, 429) until the retry policy gave up.

    Attributes:
        retry_after_s: seconds that the server wants to be left alone, at the least; None: it did not say.
    """

    def __init__(
        self,
        message: str = "",
        *,
        key: str | None = None,
        attempts: int = 0,
        elapsed_s: float = 0.0,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, key=key, attempts=attempts, elapsed_s=elapsed_s)
        self.retry_after_s = retry_after_s


class ServerFault(FetchError):
    """The server failed (500, 502, 503, 504), or answered with something that is not S3."""


class ConnectionLost(FetchError, ConnectionError):
    """The connection could not be made, or broke."""


class FetchTimeout(FetchError, TimeoutError):
    """Connecting, the first byte, or the next byte took longer than allowed."""


class ShortRead(FetchError):
    """The body ended before the announced length."""


class ChecksumMismatch(FetchError):
    """The bytes do not have the checksum that the server announced."""


class ObjectChanged(FetchError):
    """Another version of the object appeared while it was read: what came of it so far is of no use."""


class TransformError(LoaderError):
    """A transform failed on a sample.

    Attributes:
        key: URI of the sample's object, or None.
        transform: name of the transform, or None.
    """

    def __init__(self, message: str = "", *, key: str | None = None, transform: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.transform = transform


class DecodeError(TransformError):
    """The bytes of an object are not an image, or a broken one."""


class TooManyFailures(LoaderError):
    """More samples failed than the failure budget allows.

    Attributes:
        failures: how many failed.
        allowed: how many were allowed to.
        keys: URIs of the last few, the very last one at the end.
    """

    def __init__(self, message: str = "", *, failures: int = 0, allowed: int = 0, keys: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures
        self.allowed = allowed
        self.keys = keys


class StateMismatch(LoaderError):
    """A resume state does not fit the plan it is loaded into."""
