"""A file whose errors survive torch's C++ reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

__all__ = ["HonestFile"]

T = TypeVar("T")


class HonestFile:
    """What `torch.load` needs of a file, and the first error that came while it was used.

    torch's C++ reader (2.15) goes on calling Python with an exception set: a connection that breaks, even Ctrl-C,
    comes out of `torch.load` as an AttributeError or SystemError that has nothing to do with it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: BaseException | None = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """A block that ends with the file's own error where there was one, whatever came of it."""
        try:
            yield
        finally:
            if self._error is not None:
                raise self._error

    def read(self, size: int = -1) -> bytes:
        return self._call(self._file.read, size)

    def readline(self) -> bytes:
        return self._call(self._file.readline)

    def readinto(self, buffer: Any) -> int:
        # `BinaryIO` lacks it, though every binary file that is buffered has it.
        readinto: Callable[[Any], int] = self._file.readinto  # type: ignore[attr-defined]
        return self._call(readinto, buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._call(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._call(self._file.tell)

    def _call(self, method: Callable[..., T], *arguments: Any) -> T:
        try:
            return method(*arguments)
        except BaseException as error:
            self._error = self._error or error
            raise
