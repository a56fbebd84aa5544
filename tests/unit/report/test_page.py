from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncio_loader.cli import main
from asyncio_loader.report.finding import find_run
from asyncio_loader.report.page import make_page
from asyncio_loader.report.run import write_report

MakeRun = Callable[..., Path]


def test_the_page_is_whole_and_nothing_of_data_is_html(make_run: MakeRun) -> None:
    log_dir = make_run("work/<b>run")

    page = make_page(find_run(str(log_dir)))

    body = page[: page.index("<script>")]
    assert "<script>alert" not in page
    assert body.count("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;&lt;/td&gt;.jpg") == 2
    assert "<b>run" not in body
    assert "no &lt;img&gt;" in body
    assert "&lt;b&gt;loss" not in re.sub(r"<script type.*?</script>", "", body, flags=re.DOTALL)
    # Links to where plotly comes from are in its licence alone.
    assert not re.search(r"<(link|img|script|iframe)[^>]+(href|src)=[\"']?(https?:)?//", page)


def test_other_ranks_are_rows_of_a_table(make_run: MakeRun, tmp_path: Path) -> None:
    for rank in range(3):
        make_run(name=f"record.rank{rank}.jsonl" if rank else "record.jsonl", rank=rank)

    page = make_page(find_run(str(tmp_path / "work")))
    assert re.findall(r"<tr><td>(\d+)</td><td>train</td><td>400</td>", page) == ["0", "1", "2"]


def test_a_record_in_which_nothing_happened_is_a_page(make_run: MakeRun) -> None:
    log_dir = make_run()
    path = log_dir / "record.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])

    assert "No loader has done anything." in make_page(find_run(str(path)))


def test_on_the_command_line(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pages" / "report.html"

    assert main(["report", str(make_run()), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text().startswith("<!doctype html>")


def test_broken_lines_are_told_and_the_page_is_there(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_dir = make_run()
    lines = (log_dir / "record.jsonl").read_bytes().splitlines(keepends=True)
    (log_dir / "record.jsonl").write_bytes(b"".join([*lines[:3], b"[<b>]\n", *lines[3:]]))

    assert main(["report", str(log_dir), "-o", str(tmp_path / "report.html")]) == 1
    assert capsys.readouterr().err.startswith(
        f"asyncio-loader: warning: {log_dir}/record.jsonl, line 4: not JSON: Expecting value"
    )
    assert f"{log_dir}/record.jsonl, line 4: not JSON" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("run", "out", "said", "code"),
    [
        ("{tmp}/none", "{tmp}/r.html", "{tmp}/none: no such file or directory", 2),
        ("{tmp}", "{tmp}/r.html", "{tmp}: no record of a run in it: no file is called record.jsonl", 2),
        ("{tmp}/log", "{tmp}", "{tmp}: a directory, not a file", 1),
        ("{tmp}/log", "{tmp}/log/record.jsonl/r.html", "{tmp}/log/record.jsonl/r.html: ", 1),
        ("none://run", "{tmp}/r.html", "file_client_args: there is no prefix 'none'", 2),
    ],
)
def test_bad_input_is_one_line(
    run: str, out: str, said: str, code: int, tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    if "log" in run:
        make_run("log")

    assert main(["report", run.format(tmp=tmp_path), "-o", out.format(tmp=tmp_path)]) == code
    text = capsys.readouterr().err
    assert text.startswith(f"asyncio-loader: error: {said.format(tmp=tmp_path)}")
    assert text.count("\n") == 1


def test_what_could_not_be_read_is_returned(make_run: MakeRun, tmp_path: Path) -> None:
    assert write_report(str(make_run()), str(tmp_path / "r.html")) == []
