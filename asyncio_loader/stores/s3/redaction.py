"""botocore writes session tokens into its log at DEBUG, as it sends them and as servers repeat them: not ours."""

from __future__ import annotations

import logging
import traceback
from collections import deque

__all__ = ["keep_out_of_logs"]

# Those that do: the canonical request, the request's headers, the answer with its error document, and what is no HTTP.
_LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers", "botocore.httpsession")

# A process has a few accounts, and a token lives for an hour: a log hears of the last ones only.
_tokens: deque[str] = deque(maxlen=32)


def keep_out_of_logs(token: str) -> None:
    """From here on this token does not show in botocore's log. Nothing else of a record changes."""
    if token in _tokens:
        return
    _tokens.append(token)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _redact not in logger.filters:
            logger.addFilter(_redact)


def _redact(record: logging.LogRecord) -> bool:
    text = redacted = record.getMessage()
    for token in _tokens.copy():
        redacted = redacted.replace(token, "…")
    if redacted != text:
        record.msg, record.args = redacted, ()
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        trace = "".join(traceback.format_exception(error))
        if any(token in trace for token in _tokens.copy()):
            record.exc_info = None
            record.msg, record.args = f"{redacted} ({type(error).__name__}, which shows a session token)", ()
    return True
