from __future__ import annotations

import argparse

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.tuning.arguments import add_arguments, check_arguments


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tune")
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_numbers_are_put_in_order_once_each() -> None:
    assert parse("--concurrency", "64, 16,64,256").concurrency == (16, 64, 256)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--concurrency", "16,x"],
        ["--concurrency", ""],
        ["--concurrency", "0,4"],
        ["--concurrency", "4,,8"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--threads", "-1"],
        ["--latency-median", "-3"],
        ["--latency-p99", "inf"],
    ],
)
def test_bad_numbers_end_with_2_and_a_line_that_names_them(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*arguments)

    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert len(said) == 2
    assert f"argument {arguments[0]}" in said[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://b/", "--threads", "2"], "--decode"),
        (["s3://b/", "--decode", "--threads", "2", "--workers", "2"], "exclude each other"),
        (["s3://b/", "--latency-median", "3"], "the simulator's"),
        (["s3://b/", "--latency-p99", "3"], "the simulator's"),
        (["--endpoint-url", "http://x"], "--endpoint-url is about a bucket"),
        (["--anonymous"], "--anonymous is about a bucket"),
        (["--latency-median", "30", "--latency-p99", "10"], "at least the median"),
        (["--latency-median", "0", "--latency-p99", "10"], "above 0"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_arguments(parse(*arguments))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (30, 150)),
        (["--latency-median", "2"], (2, 10)),
        (["--latency-median", "2", "--latency-p99", "2"], (2, 2)),
        (["--latency-median", "0"], (0, 0)),
    ],
)
def test_the_simulators_latency(arguments: list[str], expected: tuple[float, float]) -> None:
    parsed = parse(*arguments)
    check_arguments(parsed)

    assert (parsed.latency_median, parsed.latency_p99) == expected
