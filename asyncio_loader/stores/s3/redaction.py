"""botocore writes session tokens into its log at DEBUG, as it sends them and as servers repeat them: not ours.

Nor the password of a proxy, which is in the traceback of what the proxy refuses.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from urllib.parse import urlsplit

from yarl import URL

__all__ = ["keep_out_of_logs", "keep_proxy_out_of_logs"]

# Those that do: the canonical request, the request's headers, the answer with its error document, and what is no HTTP.
_LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers", "botocore.httpsession")

# A process has a few accounts, and a token lives for an hour: a log hears of the last ones only.
_tokens: deque[str] = deque(maxlen=32)

# ``user:password@`` of the environment's proxies, of which there are one or two.
_proxies: set[str] = set()


def keep_out_of_logs(token: str) -> None:
    """From here on this token does not show in botocore's log. Nothing else of a record changes."""
    if token in _tokens:
        return
    _tokens.append(token)
    _watch()


def keep_proxy_out_of_logs(url: str) -> None:
    """As `keep_out_of_logs`, for as long as the process lives: user and password of a proxy's URL, if it has some."""
    # As it is written, and as aiohttp writes it.
    for written in (url, str(URL(url))):
        keys, _, _ = urlsplit(written).netloc.rpartition("@")
        if keys:
            _proxies.add(f"{keys}@")
            _watch()


def _watch() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _redact not in logger.filters:
            logger.addFilter(_redact)


def _redact(record: logging.LogRecord) -> bool:
    text = redacted = record.getMessage()
    secrets = [*_tokens.copy(), *_proxies.copy()]
    for secret in secrets:
        redacted = redacted.replace(secret, "…")
    if redacted != text:
        record.msg, record.args = redacted, ()
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        trace = "".join(traceback.format_exception(error))
        if any(secret in trace for secret in secrets):
            record.exc_info = None
            record.msg, record.args = f"{redacted} ({type(error).__name__}, which shows a secret)", ()
    return True
