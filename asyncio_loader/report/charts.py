"""The charts of a page, as plotly's figures. Colours of text and lines come with the page, by light and dark.

plotly takes some of HTML in its texts. What comes from data is escaped here; keys are in tables alone.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import plotly.graph_objects as go

from asyncio_loader.record.reading import Step, merge_steps
from asyncio_loader.report.finding import Losses
from asyncio_loader.report.pieces import judged_pieces
from asyncio_loader.stats import Durations, Limit, LoaderStats, Verdict

__all__ = ["Chart", "loader_charts", "loss_chart"]

# More points than pixels say no more.
MOST_POINTS = 1500
_FEW_POINTS = 120

# Told apart also by those who see no red or no green; readable on white and on nearly black.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#3b82f6", "#e08a00", "#10a37f", "#e5484d", "#9b6dff", "#8b949e"
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)

_TIME = "time (UTC)"

_FILLED = {"fill": "tozeroy", "fillcolor": "rgba(59,130,246,0.18)"}

Value: TypeAlias = Callable[[Step], float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and what stands above it.

    Attributes:
        name: of the element in the page.
        title: what it shows.
        hint: how to read it.
        figure: plotly's.
    """

    name: str
    title: str
    hint: str
    figure: Any


def loader_charts(name: str, steps: Sequence[Step], total: LoaderStats) -> list[Chart]:
    """The charts of one loader. Args: name: of the loader, begins the names of the elements."""
    few = merge_steps(steps, MOST_POINTS)
    charts = [
        Chart(f"{name}-rate", "Rate", "Samples that were handed out, and bytes that came.", _rate(few)),
        Chart(
            f"{name}-wait",
            "Waiting",
            "Share of the time that the training loop stood still for data: what a faster loader could win.",
            _wait(few),
        ),
        Chart(f"{name}-stages", "Where the time goes", "Of the time in which the loader was iterated.", _stages(total)),
        Chart(
            f"{name}-latency",
            "How long it takes",
            "Of all objects and samples, how many took how long. One far from the others is a slow object.",
            _latency(total),
        ),
        Chart(f"{name}-flight", "GETs in flight", "Level: how many there may be at once.", _in_flight(few)),
        Chart(
            f"{name}-gets",
            "GETs per second",
            "Pace: what is not exceeded, as the server has refused more. Refused: 503 SlowDown and 429.",
            _gets(few),
        ),
        Chart(f"{name}-window", "Window", "Bytes taken by what is under way or waits for its turn.", _window(few)),
    ]
    pieces = judged_pieces(steps, total)
    if pieces:
        charts.append(
            Chart(f"{name}-verdict", "What limited it", "The verdict, some seconds at a time.", _verdicts(pieces))
        )
    if steps:
        # One below the other they show the same time at the same place.
        whole = [_time(steps[0].begin), _time(steps[-1].end)]
        for chart in charts:
            if chart.figure.layout.xaxis.title.text == _TIME:
                chart.figure.update_xaxes(range=whole, type="date")
    return charts


def loss_chart(losses: Losses) -> Chart:
    """The losses of a run, by step."""
    figure = _figure("step", "loss")
    for number, (name, points) in enumerate(losses.items()):
        x, y = [step for step, _ in points], [value for _, value in points]
        _add(figure, html.escape(name), x, y, _COLOURS[number % len(_COLOURS)])
    return Chart("losses", "Losses", "As the log has them.", figure)


def _rate(steps: Sequence[Step]) -> Any:
    figure = _figure(_TIME, "samples/s")
    _curve(figure, "samples/s", steps, lambda step: step.per_s(step.stats.samples), BLUE)
    _curve(figure, "MB/s", steps, lambda step: step.per_s(step.stats.bytes_fetched) / 1e6, ORANGE, yaxis="y2")
    figure.update_layout(
        margin={"r": 58},
        yaxis2={
            "title": {"text": "MB/s"},
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
            "showgrid": False,
            "tickmode": "auto",
            "nticks": 5,
        },
    )
    return figure


def _wait(steps: Sequence[Step]) -> Any:
    figure = _figure(_TIME, "share of the time (%)")
    # Where nobody asked for a sample there is no share of anything.
    _curve(
        figure,
        "waiting for data",
        steps,
        lambda step: 100 * step.stats.wait_share if step.stats.elapsed_s else None,
        BLUE,
        **_FILLED,
    )
    figure.update_yaxes(range=[0, 102])
    return figure


def _stages(total: LoaderStats) -> Any:
    threads = max(1, total.threads)
    stages = {
        "reading the order": total.order_s,
        "window full": total.window_full_s,
        "no object to transform": total.starved_s,
        "transforming, each thread": total.transform_s / threads,
        "enough samples ready": total.blocked_s,
        "making batches": total.hand_over_s,
        "training loop waits": total.wait_s,
    }
    figure = _figure("share of the time (%)", "")
    shares = [100 * total.share(seconds) for seconds in stages.values()]
    hover = [f"{seconds:,.2f} s" for seconds in stages.values()]
    bars = go.Bar(
        x=shares, y=list(stages), orientation="h", hovertext=hover, marker={"color": BLUE}, text=_percents(shares)
    )
    figure.add_trace(bars)
    figure.update_traces(textposition="outside", cliponaxis=False, showlegend=False)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(range=[0, 1.2 * max(1.0, *shares)])
    return figure


def _percents(shares: Iterable[float]) -> list[str]:
    return [f"{share:.1f} %" for share in shares]


def _latency(total: LoaderStats) -> Any:
    figure = _figure("duration (ms)", "share (%)")
    for name, durations, colour in (
        ("fetch", total.fetch, BLUE),
        ("transform", total.transform, GREEN),
        ("wait", total.wait, ORANGE),
    ):
        x, y = _histogram(durations)
        if x:
            _add(figure, name, x, y, colour, line={"shape": "vh", "width": 1.5, "color": colour}, mode="lines")
    figure.update_xaxes(type="log")
    return figure


def _histogram(durations: Durations) -> tuple[list[float], list[float]]:
    """Upper bounds in ms, and percents; down to 0 on both sides."""
    steps = durations.steps()
    if not steps:
        return [], []
    ratio = 2 ** (1 / 8)
    bounds = [steps[0][0] / ratio, *(upper_s for upper_s, _ in steps), steps[-1][0] * ratio]
    shares = [0.0, *(100 * count / durations.count for _, count in steps), 0.0]
    return [1000 * bound for bound in bounds], shares


def _in_flight(steps: Sequence[Step]) -> Any:
    figure = _figure(_TIME, "GETs")
    _curve(figure, "in flight", steps, lambda step: step.stats.in_flight, BLUE)
    _curve(figure, "level", steps, lambda step: step.stats.level, GREY, line={"dash": "dot", "color": GREY})
    return figure


def _gets(steps: Sequence[Step]) -> Any:
    figure = _figure(_TIME, "GETs/s")
    _curve(figure, "made", steps, lambda step: step.per_s(step.stats.gets), BLUE)
    _curve(figure, "pace", steps, lambda step: step.stats.pace or None, GREY, line={"dash": "dot", "color": GREY})
    _curve(figure, "refused", steps, lambda step: step.per_s(step.stats.throttled), RED)
    _curve(figure, "other errors", steps, lambda step: step.per_s(_other_errors(step.stats)), PURPLE)
    return figure


def _other_errors(stats: LoaderStats) -> int:
    lost = stats.timeouts + stats.lost_connections + stats.server_faults
    return lost + stats.damaged + stats.other_errors


def _window(steps: Sequence[Step]) -> Any:
    figure = _figure(_TIME, "MiB")
    _curve(figure, "taken", steps, lambda step: step.stats.held_bytes / 2**20, BLUE, **_FILLED)
    _curve(
        figure,
        "window",
        steps,
        lambda step: step.stats.window_bytes / 2**20,
        GREY,
        line={"dash": "dot", "color": GREY},
    )
    return figure


def _verdicts(pieces: Sequence[tuple[Step, Verdict]]) -> Any:
    figure = _figure(_TIME, "")
    seen = {verdict.limit for _, verdict in pieces}
    figure.update_yaxes(categoryorder="array", categoryarray=[limit.value for limit in Limit if limit in seen])
    figure.add_trace(
        go.Scatter(
            x=[_time(piece.begin + (piece.end - piece.begin) / 2) for piece, _ in pieces],
            y=[verdict.limit.value for _, verdict in pieces],
            text=[html.escape(verdict.finding) for _, verdict in pieces],
            mode="markers",
            marker={"symbol": "square", "size": 9, "color": BLUE},
            showlegend=False,
            name="limit",
        )
    )
    figure.update_yaxes(automargin=True, rangemode="normal")
    return figure


def _figure(x: str, y: str) -> Any:
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=280,
        margin={"l": 58, "r": 16, "t": 28, "b": 56},
        hovermode="x unified",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(title={"text": x})
    figure.update_yaxes(title={"text": y}, rangemode="tozero")
    return figure


def _curve(figure: Any, name: str, steps: Sequence[Step], value: Value, colour: str, **more: Any) -> None:
    """A value over time, each in the middle of its seconds; a gap where the loader stood still."""
    x: list[str] = []
    y: list[float | None] = []
    before: Step | None = None
    for step in steps:
        if before is not None and (step.begin - before.end).total_seconds() > 0.5 * max(1.0, step.over_s):
            x.append(_time(before.end + (step.begin - before.end) / 2))
            y.append(None)
        x.append(_time(step.begin + (step.end - step.begin) / 2))
        y.append(value(step))
        before = step
    _add(figure, name, x, y, colour, **more)


def _add(figure: Any, name: str, x: Sequence[Any], y: Sequence[float | None], colour: str, **more: Any) -> None:
    style: dict[str, Any] = {
        "mode": "lines+markers" if len(x) <= _FEW_POINTS else "lines",
        "line": {"width": 1.5, "color": colour},
        "marker": {"size": 4, "color": colour},
    }
    rounded = [None if number is None else round(number, 4) for number in y]
    figure.add_trace(go.Scatter(x=list(x), y=rounded, name=name, **{**style, **more}))


def _time(moment: datetime) -> str:
    """As plotly reads it; it knows no time zones."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
