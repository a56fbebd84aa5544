"""Errors that say which file and which key of it they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncio_loader.errors import ConfigError, FetchError

__all__ = ["named"]


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Put ``<name>: `` before the message of a `ConfigError` or `FetchError`, once; None leaves all as it is.

    The class stays, and so does what a `FetchError` knows. What begins with the name already is raised as it is.
    """
    try:
        yield
    except ConfigError as error:
        if not name or str(error).startswith(name):
            raise
        raise ConfigError(f"{name}: {error}") from error
    except FetchError as error:
        if not name or str(error).startswith(name):
            raise
        message = f"{name}: {error}"
        raise type(error)(message, key=error.key, attempts=error.attempts, elapsed_s=error.elapsed_s) from error
