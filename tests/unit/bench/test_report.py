from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bench.report import Report, format_table, write_report

REPORT = Report(
    case="epoch",
    title="ten images",
    columns=("contender", "images/s"),
    rows=[("RAM", "1000"), ("Loader", "99")],
    raw={"RAM": [1000.1]},
)


def test_a_table_lines_up() -> None:
    assert format_table(REPORT).splitlines() == [
        "epoch: ten images",
        "",
        "contender  images/s",
        "---------  --------",
        "RAM            1000",
        "Loader           99",
    ]


def test_parts_follow_below() -> None:
    whole = Report(case="pipeline", title="all", columns=("way", "images/s"), rows=[("a", "1")], parts=[REPORT])

    assert format_table(whole) == f"{format_table(replace(whole, parts=()))}\n\n{format_table(REPORT)}"


def test_a_result_tells_where_it_comes_from(tmp_path: Path) -> None:
    path = write_report(REPORT, tmp_path / "results")
    document = json.loads(path.read_text())

    assert path.name.startswith("epoch-")
    assert document["raw"] == {"RAM": [1000.1]}
    assert {"date", "commit", "command", "cores", "python", "platform"} <= set(document)
