from __future__ import annotations

import subprocess
import sys

import pytest

from asyncio_loader.doctor.decoders import check_decoders, judge_jpeg, judge_opencv, judge_pillow

AVX = "SSE SSE2 SSE3 *SSE4.1 *AVX2 *AVX512-SKX?"


def test_all_three_are_looked_at() -> None:
    found = check_decoders()

    assert [each.name for each in found] == ["jpeg", "resize", "pillow"]
    assert all(" ms" in each.text for each in found)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom asyncio_loader.doctor import run\nfrom asyncio_loader.doctor.decoders import check_decoders\n"
        "check_decoders()\nassert 'torch' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_libjpeg_turbo_that_may_not_use_simd_is_slow() -> None:
    assert judge_jpeg("1.9", {}, 0.002).text.endswith(": 500 images/s per core")
    assert judge_jpeg("1.9", {"JSIMD_FORCENONE": "1"}, 0.004).advice == "unset JSIMD_FORCENONE"


@pytest.mark.parametrize(
    ("features", "is_optimized", "level", "end"),
    [
        # What the CPU does not have is not used.
        (AVX, True, "ok", "SIMD up to AVX2"),
        ("NEON *FP16", True, "ok", "SIMD up to FP16"),
        (AVX, False, "warning", "without SIMD"),
        ("", True, "warning", "uses no SIMD"),
    ],
)
def test_opencv_tells_what_it_uses(features: str, is_optimized: bool, level: str, end: str) -> None:
    found = judge_opencv("5.0", features, is_optimized, 0.001)

    assert found.level == level
    assert found.text.endswith(end)


def test_pillow_simd_is_called_that() -> None:
    assert judge_pillow("9.5.0.post2", 0.001, is_simd=True, is_turbo=True).text.startswith("Pillow-SIMD 9.5.0.post2")
    assert judge_pillow("12.0", 0.001, is_simd=False, is_turbo=False).level == "warning"
