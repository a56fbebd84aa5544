"""JPEGs of the size of COCO's, as a bucket has them and as a loader decodes them; and a detection data set."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncio_loader.testing import synthetic_jpegs
from bench.peers.images import decode_to_tensor as decode

__all__ = [
    "DISTINCT",
    "MEAN_BYTES",
    "DetectionData",
    "decode",
    "decode_fetched",
    "find_bccd",
    "jpeg_objects",
    "key_of",
    "read_bccd",
]

MEAN_BYTES = 115_000
# So many differ; the rest are the same again, which no loader notices.
DISTINCT = 32

_ROOT = Path(__file__).resolve().parent.parent


def key_of(number: int) -> str:
    """The key of an image, from 0."""
    return f"train2017/{number:012d}.jpg"


def jpeg_objects(images: int, key: Callable[[int], str] = key_of) -> Iterator[tuple[str, bytes]]:
    """Keys and bodies; of the latter `DISTINCT` differ, and come again in order."""
    jpegs = synthetic_jpegs(images, mean_bytes=MEAN_BYTES, distinct=DISTINCT)
    return ((key(number), jpeg) for number, jpeg in enumerate(jpegs))


def decode_fetched(fetched: Any) -> Any:
    """A uint8 RGB tensor (H, W, 3), for a dataset of ours."""
    return decode(fetched.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionData:
    """Attributes:
    annotations: a COCO file with an image for each object.
    objects: key → JPEG, in the order of the file.
    classes: names of the categories.
    """

    annotations: bytes
    objects: dict[str, bytes]
    classes: tuple[str, ...]


def find_bccd() -> Path:
    """BCCD in COCO layout: ``../shared`` or ``$ASYNCIO_LOADER_SHARED`` has all, else the few images of the tests."""
    shared = Path(os.environ.get("ASYNCIO_LOADER_SHARED", _ROOT.parent / "shared")) / "data/bccd"
    return shared if shared.is_dir() else _ROOT / "tests/data/bccd"


def read_bccd(images: int, directory: Path | None = None) -> DetectionData:
    """So many images of BCCD's training set that have boxes; where it has fewer, the first ones come again.

    Args:
        images: how many, under keys of their own.
        directory: of the data set; None: see `find_bccd`.
    """
    root = find_bccd() if directory is None else directory
    document = json.loads((root / "annotations/instances_train2017.json").read_bytes())
    boxes: dict[int, list[dict[str, Any]]] = {}
    for annotation in document["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation)
    found = [image for image in document["images"] if image["id"] in boxes and _path(root, image).is_file()]
    entries, annotations, objects = [], [], {}
    for number, image in enumerate(itertools.islice(itertools.cycle(found), images)):
        entries.append({**image, "id": number, "file_name": f"{number:012d}.jpg"})
        for annotation in boxes[image["id"]]:
            annotations.append({**annotation, "id": len(annotations), "image_id": number})
        objects[key_of(number)] = _path(root, image).read_bytes()
    categories = document["categories"]
    text = json.dumps({"images": entries, "annotations": annotations, "categories": categories})
    return DetectionData(
        annotations=text.encode(), objects=objects, classes=tuple(category["name"] for category in categories)
    )


def _path(root: Path, image: dict[str, Any]) -> Path:
    return root / "train2017" / str(image["file_name"])
