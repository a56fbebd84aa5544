"""Errors that say which file, and which key or argument, they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncio_loader.errors import ConfigError, FetchError, TransformError

__all__ = ["named"]


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Put ``<name>: `` before the message of a `ConfigError`, `FetchError` or `TransformError`, once.

    None leaves all as it is. The class stays, and so does what the error knows. What begins with the name already is
    raised as it is.
    """
    try:
        yield
    except (ConfigError, FetchError, TransformError) as error:
        if not name or str(error).startswith(name):
            raise
        raise error.retold(f"{name}: {error}") from error.__cause__
