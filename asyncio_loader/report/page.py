"""The page: one HTML file that asks nothing of any network."""

from __future__ import annotations

import html
from datetime import datetime
from importlib import resources
from string import Template

import plotly.offline

from asyncio_loader.record.reading import RunRecord
from asyncio_loader.report import tables
from asyncio_loader.report.charts import Chart, loader_charts, loss_chart
from asyncio_loader.report.finding import RunFiles
from asyncio_loader.stats import judge

__all__ = ["make_page"]


def make_page(files: RunFiles) -> str:
    """The page of a run."""
    record = files.records[0]
    body = [_head(files), *(_loader(record, name, place) for place, name in enumerate(record.loaders))]
    if not record.loaders:
        body.append("<p>No loader has done anything.</p>")
    if len(files.records) > 1:
        body.append(_part("Ranks", tables.ranks_table(files.records)))
    if files.losses:
        body.append(_part("Training", f'<div class="charts">{_chart(loss_chart(files.losses))}</div>'))
    body += [_part("Quarantine", tables.quarantine_table(files.quarantine)), _settings(record)]
    template = Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(f"Run {files.place}"), body="\n".join(body), plotly=plotly.offline.get_plotlyjs()
    )


def _head(files: RunFiles) -> str:
    record = files.records[0]
    ends = [step.end for name in record.loaders for step in record.steps(name)]
    begin = record.segments[0].begin
    parts = [f"began {_moment(begin)}", f"last line {_moment(max(ends, default=begin))}"]
    if len(record.segments) > 1:
        parts.append(f"{len(record.segments)} processes, one after the other")
    text = f'<h1>Run {html.escape(files.place)}</h1><p class="soft">{", ".join(parts)} (UTC)</p>'
    if files.earlier:
        text += f'<p class="soft">The latest of {len(files.earlier) + 1} runs there; the others: '
        text += f"{html.escape(', '.join(files.earlier))}</p>"
    if files.notes:
        text += f'<div class="notes">{"".join(f"<p>{html.escape(note)}</p>" for note in files.notes)}</div>'
    return text


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _loader(record: RunRecord, name: str, place: int) -> str:
    steps, total = record.steps(name), record.total(name)
    verdict = judge(total)
    charts = loader_charts(f"loader{place}", steps, total)
    return _part(
        f"Loader {name}",
        f'<div class="verdict"><p><b>{html.escape(verdict.finding)}</b></p><p>{html.escape(verdict.advice)}</p></div>',
        tables.figures(total, sum(step.over_s for step in steps)),
        f'<div class="charts">{"".join(map(_chart, charts))}</div>',
        _block(
            "Durations",
            tables.durations_table(total),
            "Quantiles are rounded up, by at most 9 %, and to 0.07 ms at least.",
        ),
        _block("Slowest objects", tables.slowest_table(total)),
        _block("Errors", tables.errors_table(total)),
    )


def _settings(record: RunRecord) -> str:
    latest = record.segments[-1]
    options = tables.settings_table(latest.options, "options")
    return _part(
        "Options and versions",
        f"<details open><summary>Versions</summary>{tables.settings_table(latest.versions, 'versions')}</details>",
        f"<details><summary>Options in effect</summary>{options}</details>",
    )


def _part(title: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{''.join(parts)}</section>"


def _block(title: str, table: str, hint: str = "") -> str:
    return f'<div class="block"><h3>{html.escape(title)}</h3><p class="hint">{html.escape(hint)}</p>{table}</div>'


def _chart(chart: Chart) -> str:
    # Of a script only its end tag ends it, and "<" may as well be written this way.
    figure = chart.figure.to_json().replace("<", "\\u003c")
    head = f'<h3>{html.escape(chart.title)}</h3><p class="hint">{html.escape(chart.hint)}</p>'
    name = html.escape(chart.name)
    data = f'<script type="application/json" data-chart="{name}">{figure}</script>'
    return f'<section>{head}<div class="chart" id="{name}"></div>{data}</section>'
