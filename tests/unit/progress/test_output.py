from __future__ import annotations

import io

from asyncio_loader.progress.live import LiveOutput
from asyncio_loader.progress.modes import Mode
from asyncio_loader.progress.output import PlainOutput, open_output
from tests.unit.progress.lines import Named


def test_plain_lines_come_every_ten_seconds_and_at_the_end() -> None:
    times = iter((0.0, 1.0, 9.9, 10.0, 11.0, 19.0, 20.5))
    stream = io.StringIO()
    output = PlainOutput(stream, times.__next__)
    lines = [Named("a"), Named("b")]
    for _ in range(6):
        output.refresh(lines)
    output.end(lines[0])
    output.close()

    assert stream.getvalue().splitlines() == ["a goes", "b goes", "a goes", "b goes", "a went"]


def test_what_a_stream_cannot_write_is_a_question_mark() -> None:
    raw = io.BytesIO()
    output = PlainOutput(io.TextIOWrapper(raw, encoding="ascii"))
    output.end(Named("Füße"))

    assert raw.getvalue() == b"F??e went\n"


def test_a_mode_has_its_output() -> None:
    stream = io.StringIO()

    assert open_output(Mode.OFF, stream) is None
    assert isinstance(open_output(Mode.PLAIN, stream), PlainOutput)
    live = open_output(Mode.LIVE, stream)
    assert isinstance(live, LiveOutput)
    live.close()
