"""From measurements to the lines that a user pastes. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from asyncio_loader.options import FetchOptions
from asyncio_loader.tuning.knee import Knee, find_knee
from asyncio_loader.tuning.measurement import Measurement, Task

__all__ = ["advise", "knee_of", "options_line"]

_FIELDS = ("max_in_flight", "max_in_flight_per_node", "window_bytes", "window_items")
# Waiting less than that, the consumer is the limit; retrying more than that, the server is.
_BUSY_WAIT_SHARE = 0.1
_MANY_RETRIES = 0.01


def knee_of(measurements: Sequence[Measurement]) -> Knee | None:
    """See `find_knee`."""
    return find_knee({each.concurrency: each.rate for each in measurements})


def options_line(options: FetchOptions) -> str:
    """``FetchOptions(…)`` with its `max_in_flight` and what else is not the default."""
    return f"FetchOptions({_arguments(options)})"


def advise(measurements: Sequence[Measurement], task: Task) -> str:
    """What to set, where to paste it, and what the figures mean beyond that; empty where nothing was measured."""
    knee = knee_of(measurements)
    if knee is None:
        return ""
    options = task.with_concurrency(knee.concurrency).options
    at_knee = next(each for each in measurements if each.concurrency == knee.concurrency)
    lines = [_found(knee, max(1, task.workers)), "", f"    {options_line(options)}", ""]
    lines += _config_lines(options)
    notes = [*_notes(knee, at_knee, task, is_comparison=len(measurements) > 1), *_limits(options)]
    return "\n".join([*lines, *(f"- {note}" for note in notes)])


def _found(knee: Knee, processes: int) -> str:
    each = " in each worker" if processes > 1 else ""
    if knee.concurrency == knee.best:
        return f"Knee: {knee.concurrency} GETs in flight{each}, the best rate of all."
    return (
        f"Knee: {knee.concurrency} GETs in flight{each}, {knee.share:.0%} of the best rate, "
        f"which {knee.best} in flight gave."
    )


def _config_lines(options: FetchOptions) -> list[str]:
    return [
        "In a config of `asyncio-loader train`:",
        "",
        f"    data = dict(train=dict(options=dict({_arguments(options)})))",
        "",
        "In a config of mmengine or mmdet 3, with a PrefetchDataset:",
        "",
        f"    train_dataloader = dict(dataset=dict(options=dict({_arguments(options)})))",
        "",
    ]


def _arguments(options: FetchOptions) -> str:
    usual = {field.name: field.default for field in dataclasses.fields(FetchOptions)}
    given = {name: getattr(options, name) for name in _FIELDS}
    return ", ".join(f"{name}={value}" for name, value in given.items() if name == _FIELDS[0] or value != usual[name])


def _notes(knee: Knee, at_knee: Measurement, task: Task, *, is_comparison: bool) -> list[str]:
    notes = []
    if not is_comparison:
        notes.append("A single setting shows no knee: give --concurrency several.")
    is_decoder_busy = task.decode and at_knee.wait_share < _BUSY_WAIT_SHARE
    if knee.still_grows and not is_decoder_busy:
        more = ",".join(str(knee.concurrency * factor) for factor in (1, 2, 4))
        notes.append(f"The rate still grew at the largest concurrency that was tried: see --concurrency {more}.")
    if is_decoder_busy:
        notes.append(
            f"Decoding is the limit there: it waited {at_knee.wait_share:.0%} of the time for bytes. "
            "More cores bring more, more GETs in flight do not."
        )
    if at_knee.retries > _MANY_RETRIES * at_knee.gets:
        notes.append(
            f"{at_knee.retries / at_knee.gets:.0%} of the GETs there were retries: the server or the line is "
            "at its limit, and fewer in flight may be as quick."
        )
    return notes


def _limits(options: FetchOptions) -> list[str]:
    usual = FetchOptions()
    notes = []
    if options.max_in_flight_per_node > usual.max_in_flight_per_node:
        notes.append(
            f"max_in_flight_per_node is raised for it: the default, {usual.max_in_flight_per_node}, is the most that "
            "all ranks and workers of a machine together have in flight."
        )
    else:
        ranks = usual.max_in_flight_per_node // options.most_in_flight
        notes.append(
            f"That is for each process. All ranks and workers of a machine share max_in_flight_per_node "
            f"({usual.max_in_flight_per_node}), enough for {ranks} of them: N need "
            f"max_in_flight_per_node={options.max_in_flight} * N, if the bucket gives as much."
        )
    if options.window_bytes > usual.window_bytes:
        notes.append("window_bytes is raised so that as many objects of this size fit in: memory of each process.")
    return notes
