"""What the README shows is executed: its Python blocks one after the other, against a bucket of that name."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncio_loader import S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.transforms.registry import TRANSFORMS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def upload(endpoint_url: str) -> None:
    store = S3Store(S3Options(endpoint_url=endpoint_url))
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 128, dtype=np.uint8))[1].tobytes()
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 64, "height": 48} for n in range(4)]
    boxes = [
        {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [4, 4, 30, 30], "area": 900, "iscrowd": 0}
        for n in range(4)
    ]
    annotations = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}
    try:
        await store.create_bucket("s3://yourbucket")
        await store.put("s3://yourbucket/coco/annotations/instances_train2017.json", json.dumps(annotations).encode())
        for n in range(4):
            await store.put(f"s3://yourbucket/coco/train2017/{n}.jpg", jpeg)
        for name in "ab":
            await store.put(f"s3://yourbucket/{name}.jpg", jpeg)
    finally:
        await store.aclose()


def test_the_python_blocks_of_the_readme_run(moto_environ: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(upload(moto_environ.endpoint_url))
    monkeypatch.setattr(TRANSFORMS, "_factories", dict(TRANSFORMS._factories))
    names: dict[str, Any] = {"__name__": "readme"}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"README.md, Python block {number + 1}", "exec"), names)

    samples = list(names["dataset"])
    assert len(BLOCKS) == 9
    assert "Grayscale" in TRANSFORMS
    assert [image.size for image in samples] == [(64, 48), (64, 48)]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(target: str) -> None:
    if not target.startswith("http"):
        assert (Path(__file__).parents[2] / target).exists()


@pytest.mark.parametrize("target", re.findall(r"^make (\S+)$", README, re.MULTILINE))
def test_the_commands_of_the_readme_are_targets_of_the_makefile(target: str) -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
