"""What decodes and resizes the images here, and whether it uses what the CPU can do."""

from __future__ import annotations

import importlib.metadata
import os
import statistics
import time
from collections.abc import Callable

from asyncio_loader.doctor.findings import Finding

__all__ = ["check_decoders"]

# A typical picture of COCO.
_WIDTH_PX, _HEIGHT_PX = 640, 480
_ROUNDS = 7

# Vector units that OpenCV is built for at run time; a line with none of them is of a build without.
_VECTORS = ("AVX", "SSE4", "NEON", "RVV", "VSX", "LSX", "LASX")


def check_decoders() -> list[Finding]:
    """Of simplejpeg, OpenCV and Pillow, each with a made-up picture. Takes some 0.3 s, most of it for the imports."""
    import cv2
    import numpy as np
    import simplejpeg
    from PIL import Image, __version__, features

    slope = np.add.outer(np.arange(_HEIGHT_PX) % 251, np.arange(_WIDTH_PX) % 241).astype(np.uint8)
    picture = np.ascontiguousarray(np.stack([slope, slope[::-1], slope[:, ::-1]], axis=2))
    jpeg = simplejpeg.encode_jpeg(picture, quality=90, colorspace="BGR")
    decode_s = _median_s(lambda: simplejpeg.decode_jpeg(jpeg, "BGR"))
    half = (_WIDTH_PX // 2, _HEIGHT_PX // 2)
    resize_s = _median_s(lambda: cv2.resize(picture, half))
    image = Image.fromarray(picture)
    pillow_s = _median_s(lambda: image.resize(half, Image.Resampling.BILINEAR))
    return [
        judge_jpeg(importlib.metadata.version("simplejpeg"), os.environ, decode_s),
        judge_opencv(cv2.__version__, cv2.getCPUFeaturesLine(), cv2.useOptimized(), resize_s),
        judge_pillow(
            __version__,
            pillow_s,
            is_simd=_has_distribution("pillow-simd"),
            is_turbo=bool(features.check_feature("libjpeg_turbo")),
        ),
    ]


def judge_jpeg(version: str, environ: os._Environ[str] | dict[str, str], decode_s: float) -> Finding:
    """The decoder of JPEGs; libjpeg-turbo finds the CPU's vector unit itself, unless it is forbidden to."""
    text = f"simplejpeg {version} (libjpeg-turbo), {_WIDTH_PX}×{_HEIGHT_PX} in {decode_s * 1e3:.1f} ms"
    forbidden = environ.get("JSIMD_FORCENONE") == "1"
    if forbidden:
        return Finding("warning", "jpeg", f"{text}, without SIMD", "unset JSIMD_FORCENONE")
    return Finding("ok", "jpeg", f"{text}: {1 / decode_s:,.0f} images/s per core")


def judge_opencv(version: str, features: str, is_optimized: bool, resize_s: float) -> Finding:
    """What resizes.

    Args:
        version: OpenCV's.
        features: its line of CPU features: plain ones it always uses, starred ones where there are any, and with a
            question mark those that this CPU does not have.
        is_optimized: whether it may use them.
        resize_s: seconds for half of a picture's width and height.
    """
    used = [name.lstrip("*") for name in features.split() if not name.endswith("?")]
    text = f"OpenCV {version}, resizes that in {resize_s * 1e3:.1f} ms"
    if not is_optimized:
        return Finding("warning", "resize", f"{text}, without SIMD", "cv2.setUseOptimized(True)")
    if not any(name.startswith(_VECTORS) for name in used):
        return Finding(
            "warning",
            "resize",
            f"{text}; this build uses no SIMD",
            "install the wheel of opencv-python-headless",
        )
    return Finding("ok", "resize", f"{text}; SIMD up to {used[-1]}")


def judge_pillow(version: str, resize_s: float, *, is_simd: bool, is_turbo: bool) -> Finding:
    """What `Resize(backend="pillow")` and torchvision use."""
    kind = "Pillow-SIMD" if is_simd else "Pillow"
    text = f"{kind} {version}, resizes that in {resize_s * 1e3:.1f} ms"
    if not is_turbo:
        return Finding("warning", "pillow", f"{text}; it has no libjpeg-turbo", "install the wheel of pillow")
    return Finding("ok", "pillow", text if is_simd else f"{text}; only Resize(backend='pillow') uses it")


def _median_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        begin_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin_s)
    return statistics.median(times)


def _has_distribution(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
