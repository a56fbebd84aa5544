"""Whether an argument is what it should be."""

from __future__ import annotations

import operator
from typing import Any

from asyncio_loader.errors import ConfigError

__all__ = ["MOST_INT64", "whole_number"]

MOST_INT64 = 2**63 - 1
"""What a tensor can hold."""


def whole_number(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """The value as an int, if it is a whole number: Python's, numpy's or a tensor of one, but no truth value.

    Args:
        name: of the argument, for the error.
        value: what was given.
        least: the least that it may be; None: any.
        most: the most that it may be; None: any.

    Raises:
        ConfigError: it is not.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    is_low = number is not None and least is not None and number < least
    is_high = number is not None and most is not None and number > most
    if number is None or isinstance(value, bool) or is_low or is_high:
        bounds = "" if least is None else f" of at least {least}"
        if is_high:
            bounds = f" of at most {most}"
        raise ConfigError(f"{name} must be a whole number{bounds}, not {value!r}")
    return number
