"""What it costs to look whether the bytes are the right ones: CPU time of the store's GETs, checksum by checksum.

Each row has a server of its own, which differs in what it tells of its objects alone. What a row costs more than
``never`` is the header that asks, the one that answers, and the digest.
"""

from __future__ import annotations

from contextlib import ExitStack

from asyncio_loader.options import Verify
from asyncio_loader.testing import S3Simulator
from asyncio_loader.testing.simulator.checksums import Checksum
from bench.cases import Settings
from bench.cases.get_cost import GETS, IN_FLIGHT, SIZE_BYTES, make_objects, measure, row_of
from bench.report import Report

# What the server keeps, and what the client does about it. The ETag, an MD5, is always there.
ROWS: dict[str, tuple[Checksum | None, Verify]] = {
    "never": ("crc64nvme", "never"),
    "auto, none told": (None, "auto"),
    "auto, crc64nvme": ("crc64nvme", "auto"),
    "auto, crc32c": ("crc32c", "auto"),
    "auto, crc32": ("crc32", "auto"),
    "auto, sha1": ("sha1", "auto"),
    "auto, sha256": ("sha256", "auto"),
    "always, MD5": (None, "always"),
}


def run(settings: Settings) -> Report:
    """Measure every row."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS}
    gets = settings.count(GETS)
    with ExitStack() as stack:
        kinds = dict.fromkeys(checksum for checksum, _ in ROWS.values())
        servers = {kind: stack.enter_context(S3Simulator(make_objects(), checksum=kind)) for kind in kinds}
        for _ in range(settings.repeats):
            for name, (kind, verify) in ROWS.items():
                runs[name].append(measure("ours:get_from_store", gets, servers[kind], verify=verify))
    return Report(
        case="verify",
        title=f"{SIZE_BYTES / 1000:.0f} KB objects, {IN_FLIGHT} in flight, no latency, median of {settings.repeats}",
        columns=("verify", "CPU µs/GET", "least", "most", "GET/s"),
        rows=[row_of(name, results) for name, results in runs.items()],
        raw=dict(runs),
    )
