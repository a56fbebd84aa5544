from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.record import read_record
from asyncio_loader.training.distributed import Ranks
from asyncio_loader.training.recording import recorded


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    (tmp_path / "1.jpg").write_bytes(b"x")
    return Loader(AsyncIterableDataset([str(tmp_path / "1.jpg")] * 4), 2)


def test_each_rank_has_a_record_of_its_own_beside_the_log(loader: Loader, tmp_path: Path) -> None:
    log_dir = tmp_path / "work" / "20261126_000000"
    for rank in range(2):
        with recorded({"train": loader, "val": None}, log_dir, Ranks(rank, 2, rank)), loader:
            assert len(list(loader)) == 2

    assert sorted(path.name for path in log_dir.iterdir()) == ["record.jsonl", "record.rank1.jsonl"]
    assert [read_record(path).total("train").samples for path in sorted(log_dir.iterdir())] == [4, 4]


def test_a_run_is_not_ended_for_its_record(loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log" / "record.jsonl").mkdir(parents=True)

    with recorded({"train": loader}, tmp_path / "log", Ranks()), loader:
        assert len(list(loader)) == 2

    assert [entry.getMessage() for entry in caplog.records] == [
        f"record '{tmp_path}/log/record.jsonl' cannot be written: Is a directory; there is none of this run"
    ]
