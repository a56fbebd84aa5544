from __future__ import annotations

from typing import Any

import cv2
import pytest

from bench.cases import Settings, decoders


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(target: str, *, environ: dict[str, str] | None = None, **arguments: Any) -> Any:
        threads = cv2.getNumThreads()
        try:
            return decoders.measure(**arguments)
        finally:
            cv2.setNumThreads(threads)

    monkeypatch.setattr(decoders, "call_in_fresh_process", call)
    monkeypatch.setattr(decoders, "_DISTINCT", 1)


def test_every_decoder_is_measured_with_every_kind_of_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "ROWS", (("bccd", ("simplejpeg",), 1), ("png", ("cv2", "pillow"), 1)))
    report = decoders.run(Settings(repeats=1, scale=0.001))

    assert ["bccd simplejpeg", "png cv2", "png pillow"] == [row[0] for row in report.rows]
    assert all(float(cell) > 0 for row in report.rows for cell in row[1:6])
    assert ["", ""] == [row[6] for row in report.rows[1:]]


def test_resizing_is_measured_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "ROWS", (("resize", ("pillow",), 1),))
    report = decoders.run(Settings(repeats=1, scale=0.001))

    assert float(report.rows[0][1]) > 0


def test_what_this_pillow_cannot_read_has_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "ROWS", (("jpeg", ("pillow",), 1),))
    monkeypatch.setattr(decoders, "_items", lambda _: [b"no image"])
    report = decoders.run(Settings(repeats=1, scale=0.001))

    assert [] == report.rows


def test_the_versions_are_in_the_title() -> None:
    assert "simplejpeg" in decoders._versions()
    assert "pillow" in decoders._versions()
