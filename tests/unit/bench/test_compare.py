from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncio_loader import AsyncIterableDataset, FetchOptions
from bench import compare
from bench.comparison import Figure, Options, Outcome, Section, get, load, plot
from bench.comparison.contest import Entry, failures, label, ratio, take_turns
from bench.peers import CLIENTS, LIMIT, LOADERS, OUR_LOADER, OURS, RAM, Peer, choose, ours_dataset, run
from bench.peers.tasks import GetTask, LoadTask, run_threads
from bench.report import Report

OUR_PEER = Peer(name=OURS, target="x:get")
THEIR_PEER = Peer(name="theirs", target="y:get")
GET_TASK = GetTask(endpoint_url="http://127.0.0.1:1", gets=20, warm_gets=5, keys=3, size_bytes=7, in_flight=4)
LOAD_TASK = LoadTask(
    endpoint_url="http://127.0.0.1:1", images=64, batch=16, workers=2, in_flight=8, window_bytes=1 << 20, jpegs=""
)


def entry(peer: Peer, *runs: dict[str, Any] | None, failure: str = "") -> Entry:
    return Entry(peer, list(runs), failure)


def client_run(cpu_us: float, rate: float = 5000.0) -> dict[str, float]:
    return {"cpu_us": cpu_us, "rate": rate}


def loader_run(rate: float) -> dict[str, float]:
    return {
        "rate": rate,
        "epoch_rate": rate / 2,
        "cpu_s": 1.5,
        "first_s": 0.25,
        "grown_bytes": 100 * 1024 * 1024,
        "processes": 1,
    }


def pretend(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any]) -> None:
    module = type("Module", (), {"work": staticmethod(function)})
    monkeypatch.setattr(run, "import_module", lambda name: module)


def test_contenders_take_turns() -> None:
    turns: list[str] = []

    def measure(peer: Peer) -> dict[str, float]:
        turns.append(peer.name)
        return client_run(50.0)

    entries = take_turns([OUR_PEER, THEIR_PEER], measure, repeats=2)

    assert turns == ["ours", "theirs", "ours", "theirs"]
    assert entries["theirs"].values("cpu_us") == [50.0, 50.0]


def test_one_that_fails_is_out_and_the_run_goes_on() -> None:
    turns: list[str] = []

    def measure(peer: Peer) -> dict[str, Any]:
        turns.append(peer.name)
        if peer is THEIR_PEER:
            return {"failed": "ModuleNotFoundError: No module named 'theirs'"}
        return client_run(50.0)

    entries = take_turns([THEIR_PEER, OUR_PEER], measure, repeats=3)

    assert turns == ["theirs", "ours", "ours", "ours"]
    assert entries["theirs"].runs == [None, None, None]
    assert failures(entries) == ["theirs failed: ModuleNotFoundError: No module named 'theirs'"]


def test_a_process_that_breaks_down_is_a_failure() -> None:
    def measure(peer: Peer) -> dict[str, Any]:
        raise RuntimeError("failed in its process (exit status -11)")

    entries = take_turns([THEIR_PEER], measure, repeats=1)

    assert entries["theirs"].failure == "failed in its process (exit status -11)"


def test_a_ratio_is_the_median_over_the_turns() -> None:
    entries = {
        "ours": entry(OUR_PEER, client_run(10.0), client_run(20.0), client_run(90.0)),
        "theirs": entry(THEIR_PEER, client_run(20.0), client_run(40.0), client_run(100.0)),
    }

    assert ratio(entries, "ours", "theirs", "cpu_us") == "0.50"


def test_there_is_no_ratio_to_oneself_to_nobody_or_to_a_failure() -> None:
    entries = {"ours": entry(OUR_PEER, client_run(10.0)), "theirs": entry(THEIR_PEER, None, failure="no")}

    assert [ratio(entries, "ours", name, "cpu_us") for name in ("ours", "nobody", "theirs")] == ["–", "–", "–"]


def test_a_table_of_clients_has_a_row_for_each_at_each_point() -> None:
    near = {
        "ours": entry(OUR_PEER, client_run(50.0, 9000.0), client_run(70.0, 9000.0), client_run(60.0, 9000.0)),
        "theirs": entry(THEIR_PEER, client_run(120.0), client_run(120.0), client_run(120.0)),
    }
    far = {"ours": entry(OUR_PEER, client_run(80.0)), "theirs": entry(THEIR_PEER, None, failure="no")}
    rows = get.tabulate({get.Point(115_000, "http", 64): near, get.Point(1_000_000, "https", 16): far})

    assert rows == [
        ("ours", "http", "115 KB", "64", "60", "50", "70", "9,000", "–", "–"),
        ("theirs", "http", "115 KB", "64", "120", "120", "120", "5,000", "0.50", "–"),
        ("ours", "https", "1 MB", "16", "80", "80", "80", "5,000", "–", "–"),
        ("theirs", "https", "1 MB", "16", "failed", "–", "–", "–", "–", "–"),
    ]
    assert {len(row) for row in rows} == {len(get.COLUMNS)}


def test_what_more_in_flight_costs_is_seen() -> None:
    results = {
        get.Point(4_000, "http", count): {"ours": entry(OUR_PEER, client_run(cost))}
        for count, cost in ((16, 30.0), (64, 30.0), (1000, 33.0))
    }

    assert [row[-1] for row in get.tabulate(results)] == ["–", "1.00", "1.10"]


def test_a_table_of_loaders_compares_with_ram_and_with_ours() -> None:
    entries = {
        RAM: entry(Peer(name=RAM, target="x:y"), loader_run(1000.0)),
        OUR_LOADER: entry(Peer(name=OUR_LOADER, target="x:y"), loader_run(900.0)),
        "theirs": entry(THEIR_PEER, loader_run(300.0)),
        "broken": entry(Peer(name="broken", target="x:y"), None, failure="no"),
    }
    rows = load.tabulate(entries)

    assert [row[4:6] for row in rows] == [("1.00", "0.90"), ("0.90", "–"), ("0.30", "3.00"), ("–", "–")]
    assert rows[2] == ("theirs", "300", "300", "300", "0.30", "3.00", "150", "1.50", "0.25", "100", "1")
    assert rows[3][1] == "failed"
    assert {len(row) for row in rows} == {len(load.COLUMNS)}


def test_what_a_loader_keeps_far_away() -> None:
    near = {"ours": entry(OUR_PEER, loader_run(1000.0)), "theirs": entry(THEIR_PEER, loader_run(600.0))}
    far = {"ours": entry(OUR_PEER, loader_run(950.0)), "theirs": entry(THEIR_PEER, None, failure="no")}
    rows = load.tabulate_rtt(near, far)

    assert [row[-1] for row in rows] == ["0.95", "–"]
    assert {len(row) for row in rows} == {len(load.RTT_COLUMNS)}


def test_a_version_stands_beside_a_name_where_there_is_one() -> None:
    assert label(OUR_PEER) == "ours"
    assert label(Peer(name="torch", target="x:y", distribution="torch")).startswith("torch ")
    assert label(Peer(name="theirs", target="x:y", distribution="no-such-distribution")) == "theirs"


@pytest.mark.parametrize("peers", [CLIENTS, LOADERS], ids=["clients", "loaders"])
def test_every_peer_has_a_module_and_a_name_of_its_own(peers: tuple[Peer, ...]) -> None:
    assert len({peer.name for peer in peers}) == len(peers)
    assert all(find_spec(f"bench.peers.{peer.target.partition(':')[0]}") for peer in peers)


def test_choose_takes_those_named_in_the_order_of_the_table() -> None:
    assert [peer.name for peer in choose(CLIENTS, [OURS, LIMIT])] == [LIMIT, OURS]
    assert choose(CLIENTS, []) == list(CLIENTS)


def test_what_a_client_raises_becomes_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(task: GetTask) -> None:
        raise ConnectionError("no route\nto host")

    pretend(monkeypatch, work)
    figures = run.run_client("x:work", asdict(GET_TASK))

    assert figures["failed"] == "ConnectionError: no route"
    assert "no route" in capsys.readouterr().err


def test_a_package_that_is_not_there_becomes_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    figures = run.run_client("no_such_peer:get", asdict(GET_TASK))

    assert figures["failed"] == "ModuleNotFoundError: No module named 'bench.peers.no_such_peer'"


def test_of_a_workers_error_the_cause_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(task: LoadTask) -> None:
        raise RuntimeError(
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            '  File "x.py", line 1, in f\nOSError: no store\n\nThe above exception was the direct cause\n'
            "RuntimeError: no item"
        )

    pretend(monkeypatch, work)

    assert run.run_loader("x:work", asdict(LOAD_TASK))["failed"] == "OSError: no store"


@pytest.mark.usefixtures("only_own_children")
def test_an_epoch_has_figures() -> None:
    def batches(task: LoadTask) -> Iterator[Any]:
        return (np.zeros((task.batch, 4, 6, 3), np.uint8) for _ in range(task.images // task.batch))

    figures = run.time_epoch(batches, LOAD_TASK)

    assert {"rate", "epoch_rate", "cpu_s", "first_s", "grown_bytes", "processes"} == set(figures)
    assert figures["rate"] > 0
    assert figures["processes"] == 1


def test_an_epoch_without_all_of_its_images_is_refused() -> None:
    def batches(task: LoadTask) -> Iterator[Any]:
        return (np.zeros((task.batch, 4, 6, 3), np.uint8) for _ in range(task.images // task.batch - 1))

    with pytest.raises(ValueError, match="48 images"):
        run.time_epoch(batches, LOAD_TASK)


def test_a_body_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a body of 6 bytes in place of 7"):
        run_threads(GET_TASK, lambda key: 6)


def test_threads_make_every_get_once() -> None:
    keys: list[str] = []

    def make_get(key: str) -> int:
        keys.append(key)
        return GET_TASK.size_bytes

    cost = run_threads(GET_TASK, make_get)

    assert len(keys) == GET_TASK.warm_gets + GET_TASK.gets
    assert cost.wall_s > 0


def test_tables_are_printed_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Options] = []

    def section(options: Options) -> Iterator[Outcome]:
        given.append(options)
        report = Report(case="compare-x", title="a title", columns=("a", "b"), rows=[("x", "1")])
        yield Outcome(report=report, notes=["theirs failed: no"], figure=Figure(title="t", axis="a", lines=[]))

    monkeypatch.setattr(
        compare, "SECTIONS", {"get": Section(summary="a summary", choose=lambda only: [OUR_PEER], compare=section)}
    )
    monkeypatch.setattr(compare, "draw", lambda figure, path: f"plot in {path}")
    compare.main(["get", "--only", "ours,pycurl", "--size", "4000", "--results", str(tmp_path)])
    output, said = capsys.readouterr()
    (path,) = tmp_path.iterdir()

    assert given[0].only == ["ours", "pycurl"]
    assert given[0].sizes_bytes == [4000]
    assert "theirs failed: no" in output
    assert f"plot in {path.with_suffix('.png')}" in output
    assert json.loads(path.read_text())["rows"] == [["x", "1"]]
    assert said.endswith("get: took 0 min 00 s\n")


def test_a_section_without_any_of_those_named_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def note(name: str) -> Callable[[Options], Iterator[Outcome]]:
        return lambda options: iter(ran.append(name) or ())

    noting = {name: dataclasses.replace(section, compare=note(name)) for name, section in compare.SECTIONS.items()}
    monkeypatch.setattr(compare, "SECTIONS", noting)

    compare.main(["--only", "ram,spdl"])
    compare.main(["rtt", "loaders", "--only", "ram"])
    compare.main(["sizes", "get", "sizes", "--only", "pycurl"])

    assert ran == ["loaders", "tail", "rtt", "loaders", "sizes", "get"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["--only", "nobody"],
        ["get", "--only", "spdl"],
        ["rtt", "--only", "ram"],
        ["--repeats", "0"],
        ["--in-flight", "0"],
    ],
)
def test_bad_usage_is_exit_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        compare.main(arguments)

    assert stop.value.code == 2
    assert "compare.py: error: " in capsys.readouterr().err


def test_a_plot_is_written_or_says_why_not(tmp_path: Path) -> None:
    figure = Figure(
        title="t",
        axis="img/s",
        groups=("near", "far"),
        lines=[("ours", [(3.0, 2.0, 4.0), (2.0, 2.0, 2.0)]), ("theirs", [(1.0, 1.0, 1.0), (float("nan"),) * 3])],
    )
    path = tmp_path / "x.png"
    line = plot.draw(figure, path)

    assert line == (f"plot in {path}" if find_spec("matplotlib") else "no plot: matplotlib is not installed")
    assert path.exists() == bool(find_spec("matplotlib"))


def test_our_loaders_find_their_own_concurrency_in_the_window_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: list[AsyncIterableDataset] = []
    monkeypatch.setattr(ours_dataset, "DataLoader", lambda dataset, *_, **__: datasets.append(dataset) or ())
    list(ours_dataset.load_with_workers(LOAD_TASK))

    assert datasets[0].options == FetchOptions(window_bytes=1 << 20)
