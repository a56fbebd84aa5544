from __future__ import annotations

import io

import pytest
import torch

from asyncio_loader.progress.board import Board
from asyncio_loader.progress.output import PlainOutput
from asyncio_loader.progress.transfer import TransferLine, transferring

MB = 1_000_000


class Upload:
    """12 MB a second, on a clock that moves by hand."""

    def __init__(self, total_bytes: int) -> None:
        self.now_s = 0.0
        self.line = TransferLine("upload", "epoch_3.pth", total_bytes, lambda: self.now_s)

    def go(self, seconds: int) -> Upload:
        for _ in range(seconds):
            self.now_s += 1
            self.line.advance(12 * MB)
            self.line.rows(80)
        return self


def test_at_80_columns() -> None:
    assert Upload(330 * MB).go(10).line.rows(79) == [
        "upload epoch_3.pth  120/330 MB  36%  [######------------]  12.0 MB/s  ETA 0:18"
    ]


def test_at_40_columns() -> None:
    assert Upload(330 * MB).go(10).line.rows(39) == ["epoch_3.pth  120/330 MB  36%  12.0 MB/s"]


def test_a_total_that_is_not_known_makes_no_bar() -> None:
    upload = Upload(0).go(10)

    assert upload.line.rows(79) == ["upload epoch_3.pth  120 MB  12.0 MB/s"]
    assert upload.line.plain() == "upload epoch_3.pth: 120 MB, 12.0 MB/s"


def test_more_than_was_expected_is_all() -> None:
    (row,) = Upload(100 * MB).go(9).line.rows(79)

    assert "108/100 MB  100%" in row
    assert row.endswith("ETA 0:00")


def test_the_rate_is_that_of_ten_seconds() -> None:
    upload = Upload(330 * MB).go(10)
    upload.now_s += 20
    (row,) = upload.line.rows(79)

    assert "0.0 MB/s  ETA -:--" in row


@pytest.mark.parametrize("width", [0, 1, 7, 20, 39, 60])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    line = Upload(330 * MB).go(10).line

    assert all(len(row) <= width for row in [*line.rows(width), line.summary(width)])


def test_texts_of_a_log() -> None:
    line = Upload(330 * MB).go(10).line

    assert line.plain() == "upload epoch_3.pth: 120/330 MB, 36%, 12.0 MB/s, ETA 0:18"
    assert line.summary() == "upload epoch_3.pth: 120 MB in 0:10, 12.0 MB/s"


def test_what_torch_writes_and_reads_is_counted() -> None:
    stream, file = io.StringIO(), io.BytesIO()
    board = Board(lambda: PlainOutput(stream))
    with transferring("upload", "a.pth", 5 * MB, board=board) as counted:
        torch.save({"weight": torch.arange(1_250_000, dtype=torch.float32)}, counted(file))
    file.seek(0)
    with transferring("download", "a.pth", board=board) as counted:
        read = torch.load(counted(file))

    assert read["weight"][-1] == 1_249_999
    said = stream.getvalue().splitlines()
    assert [line[: line.index(" in ")] for line in said] == ["upload a.pth: 5.0 MB", "download a.pth: 5.0 MB"]


def test_bytes_of_every_way_to_read_are_counted() -> None:
    file = io.BufferedReader(io.BytesIO(b"one\ntwo\nthree"))  # type: ignore[arg-type]
    line = TransferLine("download", "a")
    with transferring("download", "a", board=Board(lambda: None)) as counted:
        reader = counted(file)
        assert reader.readline() == b"one\n"
        assert reader.read(4) == b"two\n"
        buffer = bytearray(9)
        assert reader.readinto(buffer) == 5  # type: ignore[attr-defined]
        reader.seek(0)
        assert reader.tell() == 0
    assert line.done_bytes == 0
