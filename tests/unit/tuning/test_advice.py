from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from asyncio_loader.config import load_config
from asyncio_loader.options import FetchOptions
from asyncio_loader.tuning.advice import advise, knee_of, options_line
from asyncio_loader.tuning.measurement import Task
from tests.unit.tuning.conftest import Measured

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "options",
    [
        FetchOptions(),
        FetchOptions(max_in_flight=64),
        FetchOptions(max_in_flight=600, max_in_flight_per_node=600, window_bytes=100 * MIB, window_items=1200),
    ],
)
def test_the_line_makes_the_options(options: FetchOptions) -> None:
    assert eval(options_line(options), {"FetchOptions": FetchOptions}) == options


def test_defaults_are_left_out() -> None:
    assert options_line(FetchOptions(max_in_flight=64)) == "FetchOptions(max_in_flight=64)"


def test_the_lines_of_a_config_mean_the_options_of_the_knee(tmp_path: Path, task: Task, measured: Measured) -> None:
    said = advise([measured(64, 500), measured(600, 1000)], task)
    pasted = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    base, config = tmp_path / "base.py", tmp_path / "config.py"
    base.write_text("data = dict(train=dict(type='CocoDataset'))\ntrain_dataloader = dict(dataset=dict(type='x'))\n")
    config.write_text("\n".join(["_base_ = 'base.py'", *pasted[1:]]))

    loaded = load_config(config)

    expected = FetchOptions(max_in_flight=600, max_in_flight_per_node=600, window_bytes=132 * MIB, window_items=1200)
    assert pasted[0] == options_line(expected)
    assert FetchOptions.of(loaded.data.train.options) == expected
    assert FetchOptions.of(loaded.train_dataloader.dataset.options) == expected


def test_the_knee_and_what_it_leaves(task: Task, measured: Measured) -> None:
    measurements = [measured(16, 400), measured(64, 970), measured(256, 1000)]
    said = advise(measurements, task)

    assert knee_of(measurements) is not None
    assert said.startswith("Knee: 64 GETs in flight, 97% of the best rate, which 256 in flight gave.")
    assert "enough for 8 of them: N need max_in_flight_per_node=64 * N" in said
    assert "still grew" not in said


def test_a_rate_that_still_grows_asks_for_more(task: Task, measured: Measured) -> None:
    assert "--concurrency 64,128,256" in advise([measured(16, 400), measured(64, 970)], task)


def test_one_setting_is_no_comparison(task: Task, measured: Measured) -> None:
    assert "A single setting shows no knee" in advise([measured(16, 400)], task)


def test_busy_decoders_want_cores(task: Task, measured: Measured) -> None:
    decoding = dataclasses.replace(task, decode=True, threads=2)
    said = advise([measured(16, 400), measured(64, 970, wait_share=0.05)], decoding)

    assert "Decoding is the limit there: it waited 5% of the time for bytes." in said
    assert "still grew" not in said


def test_many_retries_are_told(task: Task, measured: Measured) -> None:
    assert "10% of the GETs there were retries" in advise([measured(16, 400, gets=500, retries=50)], task)


def test_options_beyond_the_default_are_explained(task: Task, measured: Measured) -> None:
    workers = dataclasses.replace(task, workers=8)
    said = advise([measured(16, 400), measured(500, 970)], workers)

    assert "in each worker" in said
    assert "max_in_flight_per_node=4000" in said
    assert "max_in_flight_per_node is raised for it: the default, 512," in said
    assert "window_bytes is raised" in said


def test_nothing_measured_nothing_said(task: Task) -> None:
    assert advise([], task) == ""
