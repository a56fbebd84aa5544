from __future__ import annotations

import statistics

from asyncio_loader.testing.simulator.draws import draw_uniforms


def test_equal_arguments_give_equal_numbers() -> None:
    assert draw_uniforms(1, "latency", "a", 0) == draw_uniforms(1, "latency", "a", 0)


def test_each_argument_counts() -> None:
    draws = {
        draw_uniforms(1, "latency", "a", 0),
        draw_uniforms(2, "latency", "a", 0),
        draw_uniforms(1, "fault 0", "a", 0),
        draw_uniforms(1, "latency", "b", 0),
        draw_uniforms(1, "latency", "a", 1),
    }

    assert len(draws) == 5


def test_the_numbers_are_even() -> None:
    for place in (0, 1):
        numbers = sorted(draw_uniforms(0, "latency", f"key {n}", 0)[place] for n in range(10_000))

        assert 0 < numbers[0] < 0.01
        assert 0.99 < numbers[-1] < 1
        assert abs(statistics.mean(numbers) - 0.5) < 0.02
        assert abs(numbers[2500] - 0.25) < 0.02
