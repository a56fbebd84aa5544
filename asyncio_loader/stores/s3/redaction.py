"""botocore writes session tokens into its log at DEBUG, in requests and in what comes back: not from here on."""

from __future__ import annotations

import logging
import re

__all__ = ["keep_tokens_out_of_logs"]

# Those that do: the canonical request, the request's headers, and the error document, which repeats the token.
_LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers")

# "x-amz-security-token:…", "'X-Amz-Security-Token': b'…'", "X-Amz-Security-Token=…&" and "<Token-0>…<".
_TOKEN = re.compile(r"""(x-amz-security-token['"]?\s*[:=]\s*(?:b?['"])?|<Token-[0-9]+>)[^\s'"<>&,;]+""", re.IGNORECASE)


def keep_tokens_out_of_logs() -> None:
    """Make it so, for all that this process does with botocore. Idempotent; nothing else of a record changes."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _redact not in logger.filters:
            logger.addFilter(_redact)


def _redact(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    redacted = _TOKEN.sub(r"\1…", text)
    if redacted != text:
        record.msg, record.args = redacted, ()
    return True
