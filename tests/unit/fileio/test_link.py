"""One store and one thread for each process."""

from __future__ import annotations

import os

import pytest

from asyncio_loader.fileio.link import Links
from asyncio_loader.stores.memory import MemoryStore


def test_a_process_has_one_link_until_it_is_closed() -> None:
    links: Links[MemoryStore] = Links()
    first = links.open(MemoryStore)

    assert links.open(MemoryStore) is first

    links.close()
    second = links.open(MemoryStore)

    assert second is not first
    assert first.thread.is_closed
    links.close()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_that_has_an_old_process_id_gets_a_link_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container that gives ids out again soon: everybody is process 7.
    monkeypatch.setattr(os, "getpid", lambda: 7)
    links: Links[MemoryStore] = Links()
    inherited = links.open(MemoryStore)

    child = os.fork()
    if child == 0:
        found = inherited
        try:
            found = links.open(MemoryStore)
        finally:
            os._exit(int(found is inherited))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    links.close()
