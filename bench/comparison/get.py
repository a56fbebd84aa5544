"""What a GET costs the process that makes it, client by client, when the server answers at once."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.comparison import Figure, Options, Outcome
from bench.comparison.contest import Entry, bar, failures, label, ratio, spread, take_turns
from bench.measure import call_in_fresh_process
from bench.object_server import ObjectServer, serve
from bench.peers import CLIENTS, LIMIT, OURS, Peer, choose
from bench.peers.tasks import GetTask, key_of
from bench.report import Report

__all__ = ["COLUMNS", "Point", "choose_clients", "choose_for_sizes", "compare_clients", "compare_sizes", "tabulate"]

GETS = 20_000
# Of large objects fewer: so many bytes in all.
TOTAL_BYTES = 2_500_000_000
WARM_GETS = 500
# More than a processor's cache holds, so that neither side finds a body there.
KEPT_BYTES = 128_000_000
MOST_KEYS = 1000
SIZE_BYTES = 115_000
IN_FLIGHT = 64
GRID = {4_000: (16, 64, 256, 1000), 1_000_000: (16, 64, 256, 1000), 16_000_000: (16,)}
LIMIT_S = 180.0

COLUMNS = (
    "client",
    "scheme",
    "object",
    "in flight",
    "CPU µs/GET",
    "least",
    "most",
    "GET/s",
    "ours/theirs",
    "of fewest in flight",
)


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """What all clients are measured at."""

    size_bytes: int
    scheme: str
    in_flight: int

    def __str__(self) -> str:
        return f"{self.scheme}, {_size(self.size_bytes)}, {self.in_flight} in flight"


def compare_clients(options: Options) -> Iterator[Outcome]:
    """All clients, at one size and concurrency unless more are asked for."""
    sizes = options.sizes_bytes or (SIZE_BYTES,)
    grid = dict.fromkeys(sizes, options.in_flight or (IN_FLIGHT,))
    yield _compare("compare-get", grid, choose_clients(options.only), options)


def compare_sizes(options: Options) -> Iterator[Outcome]:
    """Small to large objects, few to many in flight."""
    sizes = options.sizes_bytes or tuple(GRID)
    grid = {size: options.in_flight or GRID.get(size, (IN_FLIGHT,)) for size in sizes}
    yield _compare("compare-sizes", grid, choose_for_sizes(options.only), options)


def choose_clients(only: Sequence[str]) -> list[Peer]:
    """All of them, or those named."""
    return choose(CLIENTS, only)


def choose_for_sizes(only: Sequence[str]) -> list[Peer]:
    """The limit and ours, or those named."""
    return choose(CLIENTS, only or (LIMIT, OURS))


def tabulate(results: Mapping[Point, Mapping[str, Entry]]) -> list[tuple[str, ...]]:
    """A row for each client at each point. The last cell: its cost with more in flight over that with the fewest."""
    rows = []
    for point, entries in results.items():
        for name, entry in entries.items():
            middle, least, most = spread(entry, "cpu_us")
            rows.append(
                (
                    label(entry.peer),
                    point.scheme,
                    _size(point.size_bytes),
                    f"{point.in_flight}",
                    middle,
                    least,
                    most,
                    spread(entry, "rate", "{:,.0f}")[0] if not entry.failure else "–",
                    ratio(entries, OURS, name, "cpu_us"),
                    _growth(results, point, name),
                )
            )
    return rows


def _compare(case: str, grid: Mapping[int, Sequence[int]], peers: Sequence[Peer], options: Options) -> Outcome:
    _allow_many_files()
    results: dict[Point, dict[str, Entry]] = {}
    notes: list[str] = []
    for size_bytes, counts in grid.items():
        keys = max(8, min(MOST_KEYS, KEPT_BYTES // size_bytes))
        with serve(_objects(keys, size_bytes), tls=options.tls) as server:
            name = server.name
            if options.tls and server.https_url is None:
                notes.append(f"https: not measured: {server.no_tls}")
            for scheme in ("http", "https") if server.https_url else ("http",):
                for in_flight in counts:
                    point = Point(size_bytes, scheme, in_flight)
                    options.say(f"{point}, server: {server.name}")
                    results[point] = _measure(point, keys, server, peers, options)
    for point, entries in results.items():
        notes.extend(f"{point}: {line}" for line in failures(entries))
    title = f"CPU time of the client's process per GET, kernel included; server: {name}; median of {options.repeats}"
    raw: dict[str, Any] = {str(point): {n: e.runs for n, e in entries.items()} for point, entries in results.items()}
    return Outcome(
        report=Report(case=case, title=title, columns=COLUMNS, rows=tabulate(results), raw={**raw, "notes": notes}),
        notes=list(dict.fromkeys(notes)),
        figure=_figure(title, results, peers),
    )


def _measure(
    point: Point, keys: int, server: ObjectServer, peers: Sequence[Peer], options: Options
) -> dict[str, Entry]:
    url = server.https_url if point.scheme == "https" else server.http_url
    assert url is not None
    full = min(GETS, TOTAL_BYTES // point.size_bytes)

    def measure(peer: Peer) -> Any:
        task = GetTask(
            endpoint_url=url,
            ca_bundle=server.ca_bundle if point.scheme == "https" else None,
            gets=max(4 * point.in_flight, round(full * options.scale * peer.share)),
            warm_gets=max(4 * point.in_flight, min(WARM_GETS, full)),
            keys=keys,
            size_bytes=point.size_bytes,
            in_flight=point.in_flight,
        )
        return call_in_fresh_process(
            "bench.peers.run:run_client",
            peer=peer.target,
            timeout_s=LIMIT_S,
            task=asdict(task),
            environ=server.environ,
        )

    return take_turns(peers, measure, repeats=options.repeats, say=options.say)


def _objects(keys: int, size_bytes: int) -> Iterator[tuple[str, bytes]]:
    source = random.Random(0)
    return ((key_of(number), source.randbytes(size_bytes)) for number in range(keys))


def _allow_many_files() -> None:
    # A thousand connections are more than the 1,024 files that many systems start a process with; children inherit it.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(65_536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _growth(results: Mapping[Point, Mapping[str, Entry]], point: Point, name: str) -> str:
    alike = [other for other in results if (other.scheme, other.size_bytes) == (point.scheme, point.size_bytes)]
    fewest = min(alike, key=lambda other: other.in_flight)
    base, entry = results[fewest][name], results[point][name]
    if fewest == point or base.failure or entry.failure:
        return "–"
    return f"{entry.middle('cpu_us') / base.middle('cpu_us'):.2f}"


def _figure(title: str, results: Mapping[Point, Mapping[str, Entry]], peers: Sequence[Peer]) -> Figure:
    axis = "CPU µs per GET"
    if len(results) <= len(peers):
        lines = [(label(peer), [bar(entries[peer.name], "cpu_us") for entries in results.values()]) for peer in peers]
        return Figure(title=title, axis=axis, lines=lines, groups=[str(point) for point in results])
    # A few clients at many points: a line for each point.
    lines = [(str(point), [bar(entries[peer.name], "cpu_us") for peer in peers]) for point, entries in results.items()]
    return Figure(title=title, axis=axis, lines=lines, groups=[label(peer) for peer in peers])


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:g} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1e3:g} KB"
