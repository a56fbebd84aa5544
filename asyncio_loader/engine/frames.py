"""Errors as values."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["without_frames"]

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """The same error; it and those that it comes from no longer know where they were raised.

    For one that is kept rather than raised. The frames of a traceback keep all that was at work there, memory for
    objects included, for as long as somebody keeps the error; and where one of them has the error, in a task that
    returned it for example, until the garbage collector comes.
    """
    chain: list[BaseException] = [error]
    # It grows while it is gone through.
    for one in chain:
        one.__traceback__ = None
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
    return error
