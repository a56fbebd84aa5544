"""A state dict saved to S3 and loaded from it: how fast, and how much memory that takes beside the tensors.

* ``ours``: `torch.save` into and `torch.load` from `FileClient.open`.
* ``boto3``: `torch.save` into a `BytesIO` and `upload_fileobj`; `download_fileobj` and `torch.load`, as users write it.
* ``s3torchconnector``: `S3Checkpoint`'s writer and reader, where that package is installed.

The servers are rclone on a directory, which verifies signatures, and moto, which keeps everything in memory and is so
slow that its state dict is a quarter as large. s3torchconnector's client cannot upload to rclone ("Request has already
completed"): there it loads what ours has saved.

Every save and every load is in a process of its own; the clock runs from the first call to the last byte, connections
and credentials included, imports not. Memory is the kernel's high-water mark: above what the process had with its
tensors before it saved, or above that and the tensors after it loaded.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from statistics import median
from typing import Any

import boto3

from asyncio_loader.testing import MotoServer, RcloneServer
from bench.cases import Settings
from bench.measure import MIB, call_in_fresh_process, memory_bytes
from bench.report import Report

TOTAL_BYTES = 1_000_000_000
TENSORS = 50
MOTO_SHARE = 0.25
BUCKET = "checkpoints"
REGION = "us-east-1"

Figures = dict[str, float]


@dataclass
class Runs:
    """What one contender did on one server, run by run."""

    saves: list[Figures] = field(default_factory=list)
    loads: list[Figures] = field(default_factory=list)

    def middle(self, what: str, figure: str) -> float:
        """The median of a figure of the saves or the loads."""
        return median(figures[figure] for figures in getattr(self, what))


def run(settings: Settings) -> Report:
    """Let the contenders take turns on each server."""
    tensor_bytes = max(4096, round(TOTAL_BYTES * settings.scale) // TENSORS // 4 * 4)
    peers = ["s3torchconnector"] if find_spec("s3torchconnector") else []
    with tempfile.TemporaryDirectory() as directory, RcloneServer(directory, dir_cache_s=3600) as rclone:
        on_rclone = _compete(rclone, ["ours", "boto3"], peers, tensor_bytes, settings.repeats)
    with MotoServer() as moto:
        on_moto = _compete(moto, ["ours", "boto3", *peers], [], round(tensor_bytes * MOTO_SHARE), settings.repeats)
    results = {"rclone": on_rclone, "moto": on_moto}
    return Report(
        case="checkpoint",
        title=f"a state dict of {TENSORS} × {tensor_bytes / 1e6:.1f} MB, median of {settings.repeats}",
        columns=("server, contender", *(f"{what} {figure}" for what in ("save", "load") for figure in _FIGURES)),
        rows=[_row(server, name, runs[name], runs["ours"]) for server, runs in results.items() for name in runs],
        raw={server: {name: asdict(one) for name, one in runs.items()} for server, runs in results.items()},
    )


def _compete(
    server: RcloneServer | MotoServer, both: list[str], loaders: list[str], tensor_bytes: int, repeats: int
) -> dict[str, Runs]:
    """`both` save and load; `loaders` load what ours has saved."""
    runs = {name: Runs() for name in (*both, *loaders)}
    settings: dict[str, Any] = {
        "tensor_bytes": tensor_bytes,
        "endpoint_url": server.endpoint_url,
        "environ": {**server.environ, "AWS_REGION": REGION},
    }
    for _ in range(repeats):
        for name in both:
            runs[name].saves.append(call_in_fresh_process(f"{__name__}:save", name=name, **settings))
            call_in_fresh_process(f"{__name__}:look_at", key=f"{name}.pth", **settings)
        for name in runs:
            key = f"{name if name in both else 'ours'}.pth"
            runs[name].loads.append(call_in_fresh_process(f"{__name__}:load", name=name, key=key, **settings))
    return runs


def save(name: str, tensor_bytes: int, endpoint_url: str) -> Figures:
    """One save by a contender: bytes per second, CPU seconds per byte, and bytes of memory on top of the tensors."""
    import torch

    state = {f"layer{number}.weight": torch.rand(tensor_bytes // 4) for number in range(TENSORS)}
    work = _SAVERS[name](endpoint_url, f"{name}.pth")
    before = memory_bytes()
    _reset_high_water_mark()
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    work(state)
    elapsed_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    total_bytes = tensor_bytes * TENSORS
    extra_bytes = memory_bytes("VmHWM") - before
    return {"rate": total_bytes / elapsed_s, "cpu": cpu_s / total_bytes, "extra_bytes": extra_bytes}


def look_at(key: str, tensor_bytes: int, endpoint_url: str) -> None:
    """Have rclone compute a file's MD5, which takes it seconds: whoever asked first would pay for all who load it."""
    boto3.client("s3", endpoint_url=endpoint_url).head_object(Bucket=BUCKET, Key=key)


def load(name: str, key: str, tensor_bytes: int, endpoint_url: str) -> Figures:
    """One load by a contender, as `save`."""
    import torch

    # What the first load of a process takes for itself is not the checkpoint's.
    warm = io.BytesIO()
    torch.save({"a": torch.rand(1)}, warm)
    torch.load(io.BytesIO(warm.getvalue()), weights_only=True)
    work = _LOADERS[name](endpoint_url, key)
    before = memory_bytes()
    _reset_high_water_mark()
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    state = work()
    elapsed_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    assert len(state) == TENSORS
    total_bytes = tensor_bytes * TENSORS
    extra_bytes = memory_bytes("VmHWM") - before - total_bytes
    return {"rate": total_bytes / elapsed_s, "cpu": cpu_s / total_bytes, "extra_bytes": extra_bytes}


def _save_by_ours(endpoint_url: str, key: str) -> Callable[[Any], None]:
    import torch

    from asyncio_loader import FileClient
    from asyncio_loader.stores.s3.store import S3Store  # noqa: F401  # else imported at the first use

    _create_bucket(endpoint_url)
    client = FileClient("aws", endpoint_url=endpoint_url)

    def work(state: Any) -> None:
        with client.open(f"s3://{BUCKET}/{key}", "wb") as file:
            torch.save(state, file)

    return work


def _load_by_ours(endpoint_url: str, key: str) -> Callable[[], Any]:
    import torch

    from asyncio_loader import FileClient
    from asyncio_loader.stores.s3.store import S3Store  # noqa: F401  # else imported at the first use

    client = FileClient("aws", endpoint_url=endpoint_url)

    def work() -> Any:
        with client.open(f"s3://{BUCKET}/{key}") as file:
            return torch.load(file, weights_only=True)

    return work


def _save_by_boto3(endpoint_url: str, key: str) -> Callable[[Any], None]:
    import torch

    _create_bucket(endpoint_url)

    def work(state: Any) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        boto3.client("s3", endpoint_url=endpoint_url).upload_fileobj(buffer, BUCKET, key)

    return work


def _load_by_boto3(endpoint_url: str, key: str) -> Callable[[], Any]:
    import torch

    def work() -> Any:
        buffer = io.BytesIO()
        boto3.client("s3", endpoint_url=endpoint_url).download_fileobj(BUCKET, key, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    return work


def _save_by_s3torchconnector(endpoint_url: str, key: str) -> Callable[[Any], None]:
    import torch

    _create_bucket(endpoint_url)
    checkpoint = _connector(endpoint_url)

    def work(state: Any) -> None:
        with checkpoint.writer(f"s3://{BUCKET}/{key}") as writer:
            torch.save(state, writer)

    return work


def _load_by_s3torchconnector(endpoint_url: str, key: str) -> Callable[[], Any]:
    import torch

    checkpoint = _connector(endpoint_url)

    def work() -> Any:
        with checkpoint.reader(f"s3://{BUCKET}/{key}") as reader:
            return torch.load(reader, weights_only=True)

    return work


_SAVERS: dict[str, Callable[[str, str], Callable[[Any], None]]] = {
    "ours": _save_by_ours,
    "boto3": _save_by_boto3,
    "s3torchconnector": _save_by_s3torchconnector,
}
_LOADERS: dict[str, Callable[[str, str], Callable[[], Any]]] = {
    "ours": _load_by_ours,
    "boto3": _load_by_boto3,
    "s3torchconnector": _load_by_s3torchconnector,
}


def _connector(endpoint_url: str) -> Any:
    from s3torchconnector import S3Checkpoint, S3ClientConfig

    config = S3ClientConfig(force_path_style=True)
    return S3Checkpoint(region=REGION, endpoint=endpoint_url, s3client_config=config)


def _create_bucket(endpoint_url: str) -> None:
    client = boto3.client("s3", endpoint_url=endpoint_url)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)


def _reset_high_water_mark() -> None:
    # proc(5): 5 sets VmHWM to what is resident now.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


_FIGURES = ("MB/s", "ours/theirs", "CPU s/GB", "MiB")


def _row(server: str, name: str, theirs: Runs, ours: Runs) -> tuple[str, ...]:
    return (f"{server}, {name}", *_cells("saves", theirs, ours), *_cells("loads", theirs, ours))


def _cells(what: str, theirs: Runs, ours: Runs) -> tuple[str, ...]:
    if not getattr(theirs, what):
        return ("",) * len(_FIGURES)
    rate = theirs.middle(what, "rate")
    return (
        f"{rate / 1e6:.0f}",
        "" if theirs is ours else f"{ours.middle(what, 'rate') / rate:.2f}",
        f"{theirs.middle(what, 'cpu') * 1e9:.2f}",
        f"{theirs.middle(what, 'extra_bytes') / MIB:+.0f}",
    )
