"""An mmengine dataset with images on S3, as the tests of `PrefetchDataset` use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import mmengine.fileio
import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS

COUNT = 11
MAPPED = {"backend": "aws", "path_mapping": {"data/": "s3://bucket/"}}


@TRANSFORMS.register_module(force=True)
class LoadImageOfCase:
    """Reads the image as mmcv 2's LoadImageFromFile does."""

    def __init__(self, backend_args: Mapping[str, Any] | None = None, key: str = "img_path") -> None:
        self.backend_args = backend_args
        self.key = key

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        data = mmengine.fileio.get(results[self.key], backend_args=self.backend_args)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None, f"no image: {results[self.key]}"
        results["img"] = image
        return results


@DATASETS.register_module(force=True)
class ImagesOfCase(BaseDataset):
    """`count` images ``<root>images/<n>.png``, at the beginning of the list."""

    METAINFO = {"classes": ("cell",)}  # noqa: RUF012 - BaseDataset's own way

    def __init__(self, root: str = "data/", count: int = COUNT, first: int = 0, **options: Any) -> None:
        self.root, self.count, self.first = root, count, first
        options.setdefault("pipeline", [LoadImageOfCase(MAPPED)])
        super().__init__(**options)

    def load_data_list(self) -> list[dict[str, Any]]:
        numbers = range(self.first, self.first + self.count)
        return [{"img_path": f"{self.root}images/{number}.png", "number": number} for number in numbers]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Image 0 alone has a class of its own."""
        return [int(idx == 0)]


def images() -> dict[str, bytes]:
    """The objects by their keys: gray PNGs of 8 × 8 pixels whose value is their number."""
    return {f"images/{n}.png": bytes(cv2.imencode(".png", np.full((8, 8, 3), n, np.uint8))[1]) for n in range(COUNT)}


def seen(samples: Any) -> list[tuple[int, int]]:
    """Number of the sample by the annotations, and by the pixels."""
    return [(sample["number"], int(sample["img"][0, 0, 0])) for sample in samples]
