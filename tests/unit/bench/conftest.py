from __future__ import annotations

import pytest

from bench import process_tree


@pytest.fixture
def only_own_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that other tests of the session share are children of this process, too: they don't count."""
    find = process_tree.descendants
    others = set(find())
    monkeypatch.setattr(process_tree, "descendants", lambda pid=None: [n for n in find(pid) if n not in others])
