"""Whole loaders over a store with the latency of S3: shuffled, decoded to RGB, in batches, in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asyncio_loader.testing import S3Simulator, synthetic_jpegs
from bench.comparison import Figure, Options, Outcome
from bench.comparison.contest import Entry, bar, failures, label, ratio, spread, take_turns
from bench.measure import MIB, call_in_fresh_process
from bench.peers import LOADERS, OUR_LOADER, RAM, Peer, choose
from bench.peers.tasks import LoadTask, key_of
from bench.report import Report

__all__ = [
    "COLUMNS",
    "RTT_COLUMNS",
    "choose_far_loaders",
    "choose_loaders",
    "compare_loaders",
    "compare_rtt",
    "compare_tail",
    "tabulate",
    "tabulate_rtt",
]

# Two or three seconds of the fast ones: all sections with five turns take some 35 minutes on two cores.
IMAGES = 2400
# Far away, how many GETs pay is found in some seconds, round trip by round trip, and then it is the steady rate.
RTT_IMAGES = 4 * IMAGES
FEWEST_IMAGES = 128
BATCH = 16
MEAN_BYTES = 115_000
DISTINCT = 32
LIMIT_S = 300.0

COLUMNS = (
    "loader",
    "img/s",
    "least",
    "most",
    "of RAM",
    "ours/theirs",
    "whole epoch",
    "CPU s/1,000",
    "first batch, s",
    "growth, MiB",
    "processes",
)
RTT_COLUMNS = ("loader", "img/s near", "least", "most", "img/s far", "least", "most", "kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """When the first byte of an answer comes."""

    median_s: float
    p99_s: float
    slow_fraction: float = 0.0

    def __str__(self) -> str:
        tail = f", {self.slow_fraction:.1%} at 1 s" if self.slow_fraction else ""
        return f"{self.median_s * 1000:g} ms median, {self.p99_s * 1000:g} ms 99th percentile{tail}"


FAIR = Weather(median_s=0.030, p99_s=0.150)
SLOW_TAIL = Weather(median_s=0.030, p99_s=0.150, slow_fraction=0.005)
NEAR = Weather(median_s=0.001, p99_s=0.005)
FAR = Weather(median_s=0.150, p99_s=0.400)


def compare_loaders(options: Options) -> Iterator[Outcome]:
    """The latency of S3 on a good day."""
    yield _compare("compare-loaders", FAIR, options)


def compare_tail(options: Options) -> Iterator[Outcome]:
    """The same, and one request in two hundred takes a second."""
    yield _compare("compare-tail", SLOW_TAIL, options)


def compare_rtt(options: Options) -> Iterator[Outcome]:
    """How much of its rate a loader keeps when the store moves away."""
    peers = choose_far_loaders(options.only)
    with _jpegs() as directory:
        # All turns near, then all turns far: each simulator takes memory and a process.
        images = _count(options, RTT_IMAGES)
        near = _measure(NEAR, directory, peers, options, images)
        far = _measure(FAR, directory, peers, options, images)
    notes = [*(f"near: {line}" for line in failures(near)), *(f"far: {line}" for line in failures(far))]
    title = f"{_amount(options, images)}; near: {NEAR}; far: {FAR}; median of {options.repeats}"
    raw = {where: _runs(entries) for where, entries in (("near", near), ("far", far))}
    yield Outcome(
        report=Report(
            case="compare-rtt",
            title=title,
            columns=RTT_COLUMNS,
            rows=tabulate_rtt(near, far),
            raw={**raw, "notes": notes},
        ),
        notes=notes,
        figure=Figure(
            title=title,
            axis="img/s",
            groups=("near", "far"),
            lines=[(label(peer), [bar(entries[peer.name], "rate") for entries in (near, far)]) for peer in peers],
        ),
    )


def choose_loaders(only: Sequence[str]) -> list[Peer]:
    """All of them, or those named."""
    return choose(LOADERS, only)


def choose_far_loaders(only: Sequence[str]) -> list[Peer]:
    """Without the one to which no store is near or far."""
    return [peer for peer in choose(LOADERS, only) if peer.name != RAM]


def tabulate(entries: Mapping[str, Entry]) -> list[tuple[str, ...]]:
    """A row for each loader."""
    return [_row(entries, name, entry) for name, entry in entries.items()]


def tabulate_rtt(near: Mapping[str, Entry], far: Mapping[str, Entry]) -> list[tuple[str, ...]]:
    """A row for each loader; what it keeps is the ratio of its medians."""
    rows = []
    for name, entry in near.items():
        other = far[name]
        is_kept = not entry.failure and not other.failure
        kept = f"{other.middle('rate') / entry.middle('rate'):.2f}" if is_kept else "–"
        rows.append((label(entry.peer), *spread(entry, "rate"), *spread(other, "rate"), kept))
    return rows


def _row(entries: Mapping[str, Entry], name: str, entry: Entry) -> tuple[str, ...]:
    rates = spread(entry, "rate")
    if entry.failure:
        return (label(entry.peer), *rates, *("–",) * 7)
    return (
        label(entry.peer),
        *rates,
        "1.00" if name == RAM else ratio(entries, name, RAM, "rate"),
        ratio(entries, OUR_LOADER, name, "rate"),
        f"{entry.middle('epoch_rate'):.0f}",
        f"{entry.middle('cpu_s'):.2f}",
        f"{entry.middle('first_s'):.2f}",
        f"{entry.middle('grown_bytes') / MIB:.0f}",
        f"{entry.middle('processes'):.0f}",
    )


def _compare(case: str, weather: Weather, options: Options) -> Outcome:
    peers = choose_loaders(options.only)
    images = _count(options)
    with _jpegs() as directory:
        entries = _measure(weather, directory, peers, options, images)
    notes = failures(entries)
    title = f"{_amount(options, images)}; first byte: {weather}; server: S3Simulator; median of {options.repeats}"
    return Outcome(
        report=Report(
            case=case, title=title, columns=COLUMNS, rows=tabulate(entries), raw={**_runs(entries), "notes": notes}
        ),
        notes=notes,
        figure=Figure(
            title=title, axis="img/s", lines=[(label(peer), [bar(entries[peer.name], "rate")]) for peer in peers]
        ),
    )


def _measure(
    weather: Weather, directory: str, peers: Sequence[Peer], options: Options, images: int
) -> dict[str, Entry]:
    bodies = [path.read_bytes() for path in sorted(Path(directory).iterdir())]
    objects = ((key_of(number), bodies[number % len(bodies)]) for number in range(images))
    with S3Simulator(objects, **asdict(weather)) as simulator:
        environ = {**simulator.environ, "AWS_REGION": simulator.environ["AWS_DEFAULT_REGION"]}
        options.say(f"{weather}, server: S3Simulator")

        def measure(peer: Peer) -> Any:
            task = LoadTask(
                endpoint_url=simulator.endpoint_url,
                images=min(images, max(FEWEST_IMAGES, round(images * peer.share))),
                batch=BATCH,
                workers=options.workers,
                in_flight=options.loader_in_flight,
                window_bytes=options.window_bytes,
                jpegs=directory,
            )
            return call_in_fresh_process(
                "bench.peers.run:run_loader",
                peer=peer.target,
                timeout_s=LIMIT_S,
                task=asdict(task),
                environ=environ,
            )

        return take_turns(peers, measure, repeats=options.repeats, say=options.say)


@contextmanager
def _jpegs() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-jpegs-") as name:
        for number, jpeg in enumerate(synthetic_jpegs(DISTINCT, mean_bytes=MEAN_BYTES, distinct=DISTINCT)):
            (Path(name) / f"{number:03d}.jpg").write_bytes(jpeg)
        yield name


def _count(options: Options, images: int = IMAGES) -> int:
    return max(FEWEST_IMAGES, round(images * options.scale))


def _amount(options: Options, images: int) -> str:
    return (
        f"{images} JPEGs of {MEAN_BYTES / 1000:g} KB, shuffled, decoded by {options.workers} threads or "
        f"workers, batches of {BATCH} in order"
    )


def _runs(entries: Mapping[str, Entry]) -> dict[str, Any]:
    return {name: entry.runs for name, entry in entries.items()}
