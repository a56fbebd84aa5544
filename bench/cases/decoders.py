"""Decoders on all cores: images per second by one, two and four threads, file by file, and resizing beside them.

The decoders are those of `decode_image`, by the name that starts its chain; the files those of BCCD's training set
(640×480, 18 KB), pictures of 640×480 with as many bytes as COCO's, and a PNG and a WebP of these. Resizing makes
1067×800 of 640×480. OpenCV has one thread in each of ours. Each measurement has a process of its own, which warms up
first.

``SIMD`` is how many times as much CPU time it takes with libjpeg-turbo's vector code switched off (JSIMD_FORCENONE):
1.0 would mean that a build lacks it. ``GIL`` is the longest time for which a call keeps it from all others.

CPU time per image, 2026-11-26, simplejpeg 1.9.0, OpenCV 5.0.0, Pillow 13.0.0, on two cores that others used as well:

    BCCD    simplejpeg 0.52 ms, OpenCV 0.58, Pillow 0.79          PNG     OpenCV 4.2 ms, Pillow 4.7
    JPEG    simplejpeg 1.17 ms, OpenCV 1.20, Pillow 1.44          WebP    OpenCV 4.0 ms, Pillow 4.7
    Resize  OpenCV 0.71 ms, Pillow 5.3, pillow-simd 12.1.1 1.45

So the chain is simplejpeg, OpenCV, Pillow. None keeps the GIL (33 µs at the most), so threads hinder one another only
where cores are missing, and what takes the least CPU time is the quickest; the best rates of a minute with other work
beside it had simplejpeg or OpenCV in front, and Pillow behind. simplejpeg's lead over OpenCV is small. pillow-simd
decodes no faster than Pillow, and resizes 3.7 times as fast. With it, after ``make test-pillow-simd``:
``.venv/pillow-simd/bin/python -m bench decoders``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from statistics import median
from typing import Any

from asyncio_loader.testing import synthetic_jpegs
from bench.cases import Settings
from bench.gil import longest_hold_s
from bench.images import MEAN_BYTES, find_bccd
from bench.measure import call_in_fresh_process, cost_of
from bench.report import Report

THREADS = (1, 2, 4)
# Sources, who reads them, and the full number of images.
ROWS: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("bccd", ("simplejpeg", "cv2", "pillow"), 292),
    ("jpeg", ("simplejpeg", "cv2", "pillow"), 200),
    ("png", ("cv2", "pillow"), 64),
    ("webp", ("cv2", "pillow"), 64),
    ("resize", ("cv2", "pillow"), 128),
)
_DISTINCT = 8
_SIZE = (1067, 800)
_JPEGS = ("bccd", "jpeg")
# OpenCV's copy of libjpeg-turbo does not read the variable; `cv2.getBuildInformation` says that it has SIMD.
_HEED_FORCENONE = ("simplejpeg", "pillow")


def run(settings: Settings) -> Report:
    """Measure every decoder with every kind of file."""
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(settings.repeats):
        for source, decoders, images in ROWS:
            for decoder in decoders:
                measured = _measure(source, decoder, settings.count(images))
                if measured is not None:
                    runs.setdefault(f"{source} {decoder}", []).append(measured)
    return Report(
        case="decoders",
        title=f"{_versions()}, median of {settings.repeats}",
        columns=("images/s", *(f"{n} threads" for n in THREADS), "2 of 1", "CPU ms/image", "SIMD", "GIL µs"),
        rows=[_row(name, results) for name, results in runs.items()],
        raw=dict(runs),
    )


def _measure(source: str, decoder: str, images: int) -> dict[str, float] | None:
    arguments = {"source": source, "decoder": decoder, "images": images}
    measured: dict[str, float] | None = call_in_fresh_process("bench.cases.decoders:measure", **arguments)
    if measured is not None and source in _JPEGS and decoder in _HEED_FORCENONE:
        slow = call_in_fresh_process(
            "bench.cases.decoders:measure", environ={"JSIMD_FORCENONE": "1"}, **arguments, threads=[1]
        )
        measured["simd"] = slow["cpu_ms"] / measured["cpu_ms"]
    return measured


def measure(*, source: str, decoder: str, images: int, threads: Sequence[int] = THREADS) -> dict[str, float] | None:
    """Rates by number of threads, CPU time and GIL; None where this Pillow reads no such file."""
    import cv2

    from asyncio_loader.errors import DecodeError

    cv2.setNumThreads(0)
    items = _items(source)
    call = _call(source, decoder)
    try:
        for item in items[:_DISTINCT]:
            call(item)
    except DecodeError:
        return None
    work = [items[number % len(items)] for number in range(images)]
    result = {}
    for count in threads:
        with ThreadPoolExecutor(count) as pool, cost_of() as cost:
            started = time.perf_counter()
            for _ in pool.map(call, work):
                pass
            result[str(count)] = images / (time.perf_counter() - started)
        if count == 1:
            result["cpu_ms"] = cost.cpu_s * 1000 / images
    result["hold_us"] = longest_hold_s(lambda: call(items[0])) * 1e6
    return result


def _items(source: str) -> list[Any]:
    """Files; for ``resize`` what is in them."""
    if source == "bccd":
        return [path.read_bytes() for path in sorted((find_bccd() / "train2017").glob("*.jpg"))]
    jpegs = list(synthetic_jpegs(_DISTINCT, mean_bytes=MEAN_BYTES, distinct=_DISTINCT))
    if source == "jpeg":
        return jpegs
    import cv2
    import numpy as np

    pictures = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
    if source == "resize":
        return pictures
    options = [cv2.IMWRITE_WEBP_QUALITY, 80] if source == "webp" else []
    return [cv2.imencode(f".{source}", picture, options)[1].tobytes() for picture in pictures]


def _call(source: str, decoder: str) -> Callable[[Any], object]:
    from asyncio_loader.transforms.decoding import decode_image
    from asyncio_loader.transforms.scaling import resize_image

    if source == "resize":
        return lambda picture: resize_image(picture, _SIZE, backend=decoder)
    return lambda data: decode_image(data, backend=decoder)


def _row(name: str, results: list[dict[str, float]]) -> tuple[str, ...]:
    def middle(key: str) -> float:
        return median(result[key] for result in results)

    return (
        name,
        *(f"{middle(str(count)):.0f}" for count in THREADS),
        f"{median(result['2'] / result['1'] for result in results):.2f}",
        f"{middle('cpu_ms'):.2f}",
        f"{middle('simd'):.1f}" if "simd" in results[0] else "",
        f"{min(result['hold_us'] for result in results):.0f}",
    )


def _versions() -> str:
    pillow = "pillow-simd" if _is_installed("pillow-simd") else "pillow"
    names = ("simplejpeg", "opencv-python-headless", pillow)
    return ", ".join(f"{name} {metadata.version(name)}" for name in names if _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
