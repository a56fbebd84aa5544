"""The cases, by name; each is a module with `run`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bench.report import Report

__all__ = ["CASES", "ON_REQUEST", "RESULTS", "Settings", "load_case"]

RESULTS = Path(__file__).resolve().parent.parent / "results"

CASES = {
    "epoch": "images per second from a slow store, next to decoding from RAM and to boto3 in a DataLoader",
    "memory": "growth of resident memory while 2 GB pass through a window of 64 MiB",
    "checkpoint": "MB per second and memory of a state dict on S3, next to boto3 and s3torchconnector",
    "prefetch": "an mmengine dataset on a slow store: as it is, in a PrefetchDataset, and from RAM",
    "border": "the wait for the first batch of an epoch after the last one of the epoch before, next to boto3",
    "storm": "an epoch of 20,000 through 503s, resets, stalls and wrong bits, next to calm weather",
    "soak": "half an hour over a server that fails: what is lost, what grows (only where it is named)",
    "tail": "how long a training loop waits where one GET in a hundred takes a second, with second GETs and without",
    "pressure": "what a server that throttles lets through, and what it refuses, while its limit changes",
    "verdict": "whether what the loader says limits it is what does, on set-ups that are known",
    "stats": "images per second of a loader that counts, one that does not, and one that writes a trace",
    "get_cost": "CPU microseconds per GET, layer by layer, next to aioboto3",
    "verify": "CPU microseconds per GET that checksums take, kind by kind",
    "pipeline": "from JPEG bytes to the batch tensor, stage by stage and whole, next to OpenMMLab and torchvision",
    "hand_over": "what a DataLoader's workers hand to their parent, out of our dataset and out of a plain one",
    "device": "images per second into the memory of a GPU, and how long a Faster R-CNN waits for them",
    "decoders": "images per second by one, two and four threads, decoder by decoder, and resizing",
    "order": "what a position, a look-up and the start cost, from ten thousand to a hundred million refs",
}

# Too long to be run with all others.
ON_REQUEST = ("soak",)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    repeats: how often each contender is measured; the median counts.
    scale: share of the full amount of work, for a quick look.
    minutes: how long a soak lasts.
    results: where plots go.
    """

    repeats: int = 5
    scale: float = 1.0
    minutes: float = 30.0
    results: Path = RESULTS

    def count(self, full: int) -> int:
        """So many items in place of `full`."""
        return max(64, round(full * self.scale))


def load_case(name: str) -> Callable[[Settings], Report]:
    """The function that runs the case."""
    run: Callable[[Settings], Report] = import_module(f"bench.cases.{name}").run
    return run
