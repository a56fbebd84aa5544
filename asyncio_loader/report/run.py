"""From a run to its page."""

from __future__ import annotations

from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.report.finding import find_run
from asyncio_loader.report.page import make_page

__all__ = ["write_report"]


def write_report(run: str, out: str) -> list[str]:
    """Make the page of a run. The file is there whole or not at all.

    Args:
        run: see `find_run`, also for the errors.
        out: a path, or a URI that `FileClient` knows.

    Returns:
        What could not be read of the run, a line each; the page shows the rest, and these lines.

    Raises:
        FetchError, OSError: `out` cannot be written; names it.
    """
    files = find_run(run)
    page = make_page(files)
    FileClient.infer_client(uri=out).put(page.encode("utf-8", "backslashreplace"), out)
    return files.notes
