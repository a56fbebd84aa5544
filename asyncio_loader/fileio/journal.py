"""A record of multipart uploads, so that the next start can abort what a killed process left behind."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncio_loader.errors import FetchError
from asyncio_loader.fileio.leftovers import abort_through, abort_where_noted
from asyncio_loader.stores.local import os_errors

if TYPE_CHECKING:
    from asyncio_loader.fileio.file_client import FileClient

__all__ = ["Upload", "UploadJournal"]

logger = logging.getLogger(__name__)

# What flock says where there are no locks, as on some network file systems.
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Upload:
    """One multipart upload.

    Attributes:
        uri: the object that it was to become.
        upload_id: what the server calls it.
        storage: the fields of `S3Options` by which its server is found again, as far as they are not the defaults. No
            secret.
    """

    uri: str
    upload_id: str
    storage: Mapping[str, Any] = field(default_factory=dict, hash=False)


class UploadJournal:
    """A file of lines of JSON: which multipart uploads were begun, and which of them ended.

    S3 keeps the parts of an upload that is neither completed nor aborted, invisible and for money. Each line is on the
    disk before the upload goes on, so `abort_leftovers` of a later process finds what a killed one had open; only an
    upload killed between the server's answer and the line escapes it.

    Several processes may have the same journal. As long as one of them has an upload open, it holds a shared lock
    (``flock``) on the file, which the system drops when the process dies, and leftovers wait for a start without such
    a neighbour. A child that is forked meanwhile inherits the lock: that delays the cleaning at worst. Where the file
    system knows no locks, uploads are noted and never cleaned up; a warning says so. Any thread may use the object; a
    forked child makes its own.

    Args:
        path: of the file; made with its directory when the first upload begins.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._mutex = threading.Lock()
        self._open: set[str] = set()
        # Open and locked as long as an upload is.
        self._fd: int | None = None
        self._has_warned = False

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

    def begin(self, uri: str, upload_id: str, storage: Mapping[str, Any] | None = None) -> None:
        """Note that an upload was created; see `Upload`. On the disk when this returns.

        Raises:
            FetchError: the file cannot be written, as `stores.local.os_errors` has it.
        """
        with self._mutex, os_errors(str(self._path)):
            fd = self._open_locked() if self._fd is None else self._fd
            try:
                _append(fd, {"begun": asdict(Upload(uri, upload_id, dict(storage or {})))})
            except BaseException:
                if self._fd is None:
                    os.close(fd)
                raise
            self._fd = fd
            self._open.add(upload_id)

    def end(self, upload_id: str) -> None:
        """Note that an upload was completed or aborted. One that this object has not begun is passed over.

        Never raises, for the upload did what it should: where the line cannot be written, a warning says so, and the
        next start finds that the server has no such upload any more.
        """
        with self._mutex:
            if self._fd is None or upload_id not in self._open:
                return
            try:
                with os_errors(str(self._path)):
                    _append(self._fd, {"ended": upload_id})
            except FetchError as error:
                logger.warning("%s; the end of an upload could not be noted", error)
            self._forget(upload_id)

    def leave(self, upload_id: str) -> None:
        """Keep an upload as a leftover of this process, which lives and will not abort it: the next start does."""
        with self._mutex:
            self._forget(upload_id)

    def abort_leftovers(self, client: FileClient | None = None) -> list[Upload]:
        """Abort every upload that was begun by a process that lives no more, and never ended.

        What cannot be aborted now (no permission, no connection, a profile that is gone) is logged as a warning and
        kept for the next time; an upload that the server no longer has counts as aborted. When nothing is left, the
        file is emptied. Without a client it takes some seconds at the most, wherever the servers are.

        Args:
            client: the one to abort through, whatever the journal says of the storage. None: by the options noted.

        Returns:
            The uploads aborted. Empty, with a warning in the log, if a process that lives has uploads open.

        Raises:
            ConfigError: the client given knows no uploads, or cannot be used.
            FetchError: the file is there and cannot be read.
        """
        with self._exclusive() as fd:
            leftovers = [] if fd is None else _open_uploads(fd)
        if not leftovers:
            return []
        path = str(self._path)
        aborted = abort_where_noted(leftovers, path) if client is None else abort_through(client, leftovers, path)
        try:
            self._note_ends(aborted)
        except FetchError as error:
            logger.warning("%s; the end of leftover uploads could not be noted", error)
        return aborted

    def _note_ends(self, uploads: list[Upload]) -> None:
        with self._exclusive() as fd, os_errors(str(self._path)):
            if fd is not None:
                for upload in uploads:
                    _append(fd, {"ended": upload.upload_id})
                if not _open_uploads(fd):
                    os.ftruncate(fd, 0)

    def _open_locked(self) -> int:
        """The file, for this process and its like."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            # Waits for no longer than another process reads the file.
            self._lock(fd, fcntl.LOCK_SH)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _forget(self, upload_id: str) -> None:
        self._open.discard(upload_id)
        if not self._open and self._fd is not None:
            fd, self._fd = self._fd, None
            # Closed in any case; what a late error says was flushed to the disk long before.
            with suppress(OSError):
                os.close(fd)

    @contextmanager
    def _exclusive(self) -> Iterator[int | None]:
        """The file, locked against everybody; None if there is none, or if it cannot be had alone: that is logged."""
        try:
            with os_errors(str(self._path)):
                fd = os.open(self._path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            yield None
            return
        try:
            with os_errors(str(self._path)):
                is_ours = self._lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield fd if is_ours else None
        finally:
            os.close(fd)

    def _lock(self, fd: int, operation: int) -> bool:
        """Whether it is locked now."""
        try:
            fcntl.flock(fd, operation)
        except BlockingIOError:
            logger.warning("%s: a running process has uploads open; leftovers wait for the next start", self._path)
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if not self._has_warned:
                logger.warning("%s: no locks on this file system: uploads left over are not cleaned up", self._path)
            self._has_warned = True
            return False
        return True


def _append(fd: int, line: dict[str, Any]) -> None:
    # The newline goes first as well: what a crash of the machine tore off must not swallow this line.
    content = b"\n" + json.dumps(line).encode() + b"\n"
    if os.write(fd, content) < len(content):
        # The disk is full: the next write would say so.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(fd)


def _open_uploads(fd: int) -> list[Upload]:
    uploads: dict[str, Upload] = {}
    content = os.pread(fd, os.fstat(fd).st_size, 0)
    for line in content.splitlines():
        match _parse(line):
            case {"begun": {"uri": str(uri), "upload_id": str(upload_id), "storage": dict(storage)}}:
                uploads[upload_id] = Upload(uri, upload_id, storage)
            case {"ended": str(upload_id)}:
                uploads.pop(upload_id, None)
    return list(uploads.values())


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        # Empty, or torn when the machine went down: an upload that never got its line is nobody's to abort.
        return None
