"""A record of multipart uploads, so that the next start can abort what a killed process left behind."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncio_loader.errors import ConfigError, FetchError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.objects import ObjectBackend
from asyncio_loader.stores.local import os_errors

if TYPE_CHECKING:
    from asyncio_loader.fileio.file_client import FileClient

__all__ = ["Upload", "UploadJournal"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """One multipart upload.

    Attributes:
        uri: the object that it was to become.
        upload_id: what the server calls it.
        storage: the fields of `S3Options` it was made with, as far as they are not the defaults. No secret.
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
    a neighbour. A child that is forked meanwhile inherits the lock: that delays the cleaning at worst. Any thread may
    use the object; a forked child makes its own.

    Args:
        path: of the file; made with its directory when the first upload begins.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._mutex = threading.Lock()
        self._open: set[str] = set()
        self._lock_fd: int | None = None

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
            if self._lock_fd is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._lock_fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                # Waits for no longer than another process reads the file.
                fcntl.flock(self._lock_fd, fcntl.LOCK_SH)
            self._open.add(upload_id)
            _append(self._lock_fd, {"begun": asdict(Upload(uri, upload_id, dict(storage or {})))})

    def end(self, upload_id: str) -> None:
        """Note that an upload was completed or aborted. One that this object has not begun is passed over."""
        with self._mutex, os_errors(str(self._path)):
            if self._lock_fd is None or upload_id not in self._open:
                return
            _append(self._lock_fd, {"ended": upload_id})
            self._open.discard(upload_id)
            if not self._open:
                os.close(self._lock_fd)
                self._lock_fd = None

    def abort_leftovers(self, client: FileClient | None = None) -> list[Upload]:
        """Abort every upload that was begun by a process that lives no more, and never ended.

        What cannot be aborted now (no permission, no connection) is logged as a warning and kept for the next time;
        an upload that the server no longer has counts as aborted. When nothing is left, the file is emptied.

        Args:
            client: the one to abort through, whatever the journal says of the storage. None: by the options noted.

        Returns:
            The uploads aborted. Empty, with a warning in the log, if a process that lives has uploads open.

        Raises:
            ConfigError: the client's backend knows no uploads.
            FetchError: the file is there and cannot be read.
        """
        leftovers = self._leftovers()
        if not leftovers:
            return []
        aborted = [upload for upload in leftovers if self._abort(upload, client)]
        with self._exclusive() as fd:
            if fd is not None:
                for upload in aborted:
                    _append(fd, {"ended": upload.upload_id})
                if not _open_uploads(fd):
                    os.ftruncate(fd, 0)
        return aborted

    def _leftovers(self) -> list[Upload]:
        with self._exclusive() as fd:
            if fd is not None:
                return _open_uploads(fd)
        if self._path.exists():
            logger.warning("%s: a running process has uploads open; leftovers wait for the next start", self._path)
        return []

    @contextmanager
    def _exclusive(self) -> Iterator[int | None]:
        """The file, locked against everybody; None if there is none, or somebody has an upload open."""
        try:
            with os_errors(str(self._path)):
                fd = os.open(self._path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)

    def _abort(self, upload: Upload, client: FileClient | None) -> bool:
        backend = AwsBackend(**upload.storage) if client is None else client.client
        if not isinstance(backend, ObjectBackend):
            raise ConfigError(f"{self._path}: {backend!r} knows no uploads that could be aborted")
        try:
            backend.abort_upload(upload.uri, upload.upload_id)
        except FetchError as error:
            logger.warning("%s: an upload to %s is left over and stays for now: %s", self._path, upload.uri, error)
            return False
        finally:
            if client is None:
                backend.close()
        return True


def _append(fd: int, line: dict[str, Any]) -> None:
    # The newline goes first as well: what a crash of the machine tore off must not swallow this line.
    os.write(fd, b"\n" + json.dumps(line).encode() + b"\n")
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
