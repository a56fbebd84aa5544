"""What to say to somebody who got a name wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """``did you mean 'x'?`` with the nearest of the known names, or `otherwise` where none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
