from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import ConfigError
from asyncio_loader.report.finding import find_run

MakeRun = Callable[..., Path]


def test_a_record_a_log_directory_and_a_work_directory_are_the_same_run(make_run: MakeRun, tmp_path: Path) -> None:
    log_dir = make_run()

    for run in (log_dir / "record.jsonl", log_dir, tmp_path / "work", f"{log_dir}/"):
        files = find_run(str(run))
        assert [record.total("train").samples for record in files.records] == [400]
        assert [entry.error for entry in files.quarantine] == ["DecodeError"]
        assert files.losses["loss"][:2] == [(1, 2.0), (2, 1.0)]
        assert (files.earlier, files.notes) == ([], [])


def test_a_record_in_the_current_directory_has_its_files_there(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_run())

    assert len(find_run("record.jsonl").quarantine) == 1


def test_the_latest_run_is_taken_and_all_its_ranks(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("work/20261125_040000")
    for rank in (0, 10, 2):
        make_run(name=f"record.rank{rank}.jsonl" if rank else "record.jsonl", rank=rank)
    (tmp_path / "work" / "uploads.jsonl").write_text("{}\n")

    files = find_run(str(tmp_path / "work"))
    assert files.place == f"{tmp_path}/work/20261126_040000"
    assert [record.segments[0].rank for record in files.records] == [0, 2, 10]
    assert files.earlier == ["20261125_040000"]


def test_a_run_may_be_anywhere_the_file_client_knows(make_run: MakeRun) -> None:
    log_dir = make_run()
    client = FileClient(prefix="memory")
    for path in log_dir.rglob("*.json*"):
        client.put(path.read_bytes(), f"memory://logs/run/20261126/{path.relative_to(log_dir)}")

    files = find_run("memory://logs/run")
    assert files.records[0].total("train").samples == 400
    assert files.place == "memory://logs/run/20261126"
    assert (len(files.quarantine), len(files.losses)) == (1, 2)


def test_losses_are_found_under_the_other_name_that_mmengine_gives_them(make_run: MakeRun) -> None:
    log_dir = make_run()
    (log_dir / "vis_data" / "scalars.json").rename(log_dir / "vis_data" / "20261126_040000.json")

    assert find_run(str(log_dir)).losses.keys() == {"loss", "<b>loss"}


def test_lines_that_are_broken_are_named_and_the_rest_is_there(make_run: MakeRun) -> None:
    log_dir = make_run()
    names = ("record.jsonl", "quarantine.jsonl", "vis_data/scalars.json")
    for name in names:
        lines = (log_dir / name).read_text().splitlines(keepends=True)
        (log_dir / name).write_text("".join([lines[0], "{broken\n", *lines[1:]]))

    files = find_run(str(log_dir))
    assert [note.partition(": ")[0] for note in files.notes] == [f"{log_dir}/{name}, line 2" for name in names]
    assert files.records[0].total("train").samples == 400
    assert (len(files.quarantine), len(files.losses["loss"])) == (1, 5)


def test_what_is_no_run_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").touch()

    for name, said in (
        ("nothing", "no such file or directory"),
        ("empty", "no record of a run in it: no file is called record.jsonl"),
        ("empty.jsonl", "no record of a run: it is empty"),
    ):
        with pytest.raises(ConfigError, match=f"^{tmp_path}/{name}: {said}$"):
            find_run(str(tmp_path / name))
