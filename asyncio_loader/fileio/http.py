"""Files on the web as the storage backend ``http``: read only, by the standard library."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from asyncio_loader.errors import (
    AccessDenied,
    ConfigError,
    ConnectionLost,
    FetchError,
    FetchTimeout,
    ObjectNotFound,
    ServerFault,
    ShortRead,
    Throttled,
)
from asyncio_loader.fileio.backends import FilePath, StorageBackend

__all__ = ["HttpBackend"]

_COPY_BYTES = 1024 * 1024
_ERRORS: dict[int, type[FetchError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: ObjectNotFound,
    408: FetchTimeout,
    410: ObjectNotFound,
    429: Throttled,
    503: Throttled,
}


class HttpBackend(StorageBackend):
    """Files behind ``http://`` and ``https://``. Reads, by one GET per call, which is tried once; any thread may.

    Follows redirects within HTTP and the proxies of the environment; certificates are verified. What a URL may not hold
    as it is (spaces, letters beyond ASCII) is percent-encoded; what is encoded already stays.

    Args:
        timeout_s: seconds that connecting, or the next bytes of the answer, may take. 30, as `RetryPolicy` has it for
            a stalled body.

    Raises:
        ConfigError: not a number of seconds above 0.
    """

    def __init__(self, timeout_s: float = 30.0) -> None:
        if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool) or timeout_s <= 0:
            raise ConfigError(f"HttpBackend.timeout_s must be a number of seconds above 0, not {timeout_s!r}")
        self._timeout_s = timeout_s

    def get(self, filepath: FilePath) -> bytes:
        """The content.

        Raises:
            FetchError: the subclass that tells why. The query of a URL, where signatures stand, is left out of it.
            ConfigError: not such a URL, or one with a user and password.
        """
        with self._answer(_parse(str(filepath))) as answer:
            return answer.read()

    @contextmanager
    def get_local_path(self, filepath: FilePath) -> Iterator[str]:
        """A temporary file with the content and the extension, removed at the end. Raises as `get`."""
        url = _parse(str(filepath))
        suffix = os.path.splitext(url.said)[1]
        with tempfile.NamedTemporaryFile(suffix=suffix) as copy:
            with self._answer(url) as answer:
                shutil.copyfileobj(answer, copy, _COPY_BYTES)
                # Only `read` without a size tells of a body that ended early; this is what is left of the announced.
                if answer.length:
                    raise http.client.IncompleteRead(b"", answer.length)
            copy.flush()
            yield copy.name

    @contextmanager
    def _answer(self, url: _Url) -> Iterator[http.client.HTTPResponse]:
        said = url.said
        try:
            with closing(_opener().open(url.full, timeout=self._timeout_s)) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                kind = _ERRORS.get(error.code, ServerFault if error.code >= 500 else FetchError)
            # Its own words may hold where a redirect leads to, with that URL's query.
            raise kind(f"{said}: HTTP {error.code} {http.client.responses.get(error.code, '')}", key=said) from None
        except urllib.error.URLError as error:
            raise _connection_error(said, error.reason) from error
        except http.client.IncompleteRead as error:
            raise ShortRead(f"{said}: the body ended early", key=said) from error
        except (http.client.InvalidURL, UnicodeError):
            # Of a redirect; chained, it would show all of the URL.
            raise FetchError(f"{said}: the server redirects to what is no URL", key=said) from None
        except http.client.HTTPException as error:
            raise ServerFault(f"{said}: no answer that is HTTP ({type(error).__name__})", key=said) from error
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise _connection_error(said, error) from error

    def __repr__(self) -> str:
        return f"HttpBackend(timeout_s={self._timeout_s!r})"


def _opener() -> urllib.request.OpenerDirector:
    """urllib's own without ``file:``, ``ftp:`` and ``data:``, which no redirect shall lead to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Url(NamedTuple):
    """Where a file is: all of it for the request, and what of it an error may show."""

    full: str
    said: str


# What RFC 3986 allows in a path and a query as it is, and the percent sign of what is encoded already.
_ALLOWED = "/%:@!$&'()*+,;=~?"


def _parse(url: str) -> _Url:
    # Neither query nor user and password: secrets stand there.
    said = re.sub(r"//.*@", "//", url.partition("?")[0])
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        # Chained or quoted, it would show what is wrong with all the rest. UnicodeError is one, too.
        raise ConfigError(f"{said!r} is no URL: look at its host and port") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", host):
        raise ConfigError(f"{said!r} is neither http://host/… nor https://host/…")
    if "@" in parts.netloc:
        raise ConfigError(f"{said!r} is given with a user and password: HttpBackend sends none")
    start = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
    path = quote(parts.path, safe=_ALLOWED)
    query = f"?{quote(parts.query, safe=_ALLOWED)}" if parts.query else ""
    return _Url(f"{start}{path}{query}", f"{start}{path}")


def _connection_error(said: str, reason: object) -> FetchError:
    if isinstance(reason, TimeoutError):
        return FetchTimeout(f"{said}: no answer in time (timeout_s)", key=said)
    return ConnectionLost(f"{said}: {reason}", key=said)
