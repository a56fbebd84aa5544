"""Quantities as short texts, in ASCII: whatever the terminal's encoding is, it shows them."""

from __future__ import annotations

import math

__all__ = ["as_bytes_of", "as_duration", "as_mb_per_s", "as_percent", "as_rate", "bar", "printable"]

_MB = 1e6
_LEAST_SHOWN = 10.0


def as_rate(per_s: float, unit: str) -> str:
    """``212 img/s``; below 10 with a decimal."""
    return f"{per_s:,.{1 if per_s < _LEAST_SHOWN else 0}f} {unit}/s"


def as_mb_per_s(bytes_per_s: float) -> str:
    """``24.4 MB/s``, a megabyte being 10**6 bytes."""
    return f"{bytes_per_s / _MB:,.1f} MB/s"


def as_bytes_of(amount_bytes: int, total_bytes: int) -> str:
    """``118/256 MB``; ``118 MB`` where the total is not known (0)."""
    places = 1 if max(amount_bytes, total_bytes) < _LEAST_SHOWN * _MB else 0
    amount, total = (f"{size / _MB:,.{places}f}" for size in (amount_bytes, total_bytes))
    return f"{amount}/{total} MB" if total_bytes else f"{amount} MB"


def as_percent(share: float) -> str:
    """``34%``; it is 100 only where nothing is left."""
    return f"{math.floor(100 * min(1.0, max(0.0, share)))}%"


def as_duration(seconds: float | None) -> str:
    """``9:13`` or ``2:09:13``; ``-:--`` where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bar(share: float, width: int) -> str:
    """``[####----]``, so many characters wide."""
    inner = width - 2
    filled = math.floor(inner * min(1.0, max(0.0, share)))
    return f"[{'#' * filled}{'-' * (inner - filled)}]"


def printable(text: str, encoding: str | None) -> str:
    """A text without what an encoding lacks and what would move the cursor: names of files may have anything."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    try:
        return plain.encode(encoding or "ascii", "replace").decode(encoding or "ascii", "replace")
    except LookupError:
        return plain.encode("ascii", "replace").decode("ascii")
