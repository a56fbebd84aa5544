"""The annotation file as it stands: parsed, checked, in columns. What is dropped is decided in `rules`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError

__all__ = [
    "Annotations",
    "Entry",
    "MissingFieldError",
    "read_annotations",
    "read_categories",
    "read_document",
    "read_images",
    "read_section",
]

Entry: TypeAlias = dict[str, Any]
"""One JSON object of a section."""


class MissingFieldError(ConfigError, KeyError):
    """An annotation file lacks a field. A `KeyError` too, because that is what mmdet raises."""

    # KeyError would show the message in quotes, as if it were the key.
    __str__ = Exception.__str__


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The annotations that may yield a box, in the order of the file.

    They have a category that is wanted, belong to an image of the file, and don't say `ignore`.

    Attributes:
        image: position of the image in the section ``images``, (n,).
        label: position of the category among the wanted ones, (n,).
        box: x, y, width, height in pixels, not clipped, (n, 4).
        area: in square pixels, (n,).
        is_crowd: (n,).
        segmentation: polygons or run lengths as in the file, or None; empty where they were not asked for.
    """

    image: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    box: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    is_crowd: npt.NDArray[np.bool_]
    segmentation: list[Any]


def read_document(data: bytes, source: str) -> Entry:
    """The annotation file as Python objects.

    Raises:
        ConfigError: it is empty, not JSON, or no JSON object.
    """
    if not data.strip():
        raise ConfigError(f"{source}: the annotation file is empty")
    try:
        document = json.loads(data)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}: not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not JSON: byte {error.start} is not {error.encoding}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: a COCO annotation file is a JSON object, not a {type(document).__name__}")
    return document


def read_section(document: Entry, name: str, source: str) -> list[Entry]:
    """One top-level section of the file.

    Raises:
        ConfigError: it is missing, or no list of objects.
    """
    if name not in document:
        others = ", ".join(map(repr, document))
        raise MissingFieldError(
            f"{source}: no {name!r} at the top level, " + (f"only {others}" if others else "it is empty")
        )
    section = document[name]
    if not isinstance(section, list):
        raise ConfigError(f"{source}: {name!r} must be a list, not a {type(section).__name__}")
    for position, entry in enumerate(section):
        if not isinstance(entry, dict):
            raise ConfigError(f"{source}: {name}[{position}] must be an object, not {entry!r:.80}")
    return section


def _place(source: str, section: str, position: int, entry: Entry) -> str:
    return f"{source}: {section}[{position}] (id {entry.get('id', 'missing')})"


def _field(entry: Entry, name: str, source: str, section: str, position: int) -> Any:
    try:
        return entry[name]
    except KeyError:
        raise MissingFieldError(f"{_place(source, section, position, entry)} has no {name!r}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def read_images(images: list[Entry], source: str) -> npt.NDArray[np.float64]:
    """Width and height of every image, (n, 2), after checking all that mmdet reads of an image.

    Raises:
        ConfigError: a field is missing or of the wrong type, or an id stands there twice.
    """
    sizes = np.empty((len(images), 2))
    seen: dict[Any, int] = {}
    for position, image in enumerate(images):
        image_id, name, width, height = (
            _field(image, field, source, "images", position) for field in ("id", "file_name", "width", "height")
        )
        place = _place(source, "images", position, image)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{place}: 'file_name' must be a non-empty string, not {name!r:.80}")
        for field, value in (("width", width), ("height", height)):
            if not _is_number(value) or value <= 0:
                raise ConfigError(f"{place}: {field!r} must be a number of pixels above 0, not {value!r:.80}")
        if not isinstance(image_id, int | float | str):
            raise ConfigError(f"{place}: 'id' must be a number or a string, not {image_id!r:.80}")
        if image_id in seen:
            raise ConfigError(f"{place}: the id stands at images[{seen[image_id]}] already; image ids must be unique")
        seen[image_id] = position
        sizes[position] = width, height
    return sizes


def read_categories(categories: list[Entry], source: str) -> dict[Any, str]:
    """Category id → name, in the order of the file.

    Raises:
        ConfigError: a field is missing or of the wrong type, or an id stands there twice.
    """
    names: dict[Any, str] = {}
    for position, category in enumerate(categories):
        category_id, name = (_field(category, field, source, "categories", position) for field in ("id", "name"))
        place = _place(source, "categories", position, category)
        if not isinstance(category_id, int | float | str) or not isinstance(name, str):
            raise ConfigError(f"{place}: 'id' must be a number and 'name' a string, not {name!r:.80}")
        if category_id in names:
            raise ConfigError(f"{place}: the id is that of {names[category_id]!r} already; category ids must be unique")
        names[category_id] = name
    return names


def read_annotations(
    section: list[Entry], image_at: dict[Any, int], label_of: dict[Any, int], source: str, *, with_masks: bool
) -> tuple[Annotations, npt.NDArray[np.bool_]]:
    """Columns of the annotations that may yield a box, and which images have any of a wanted category.

    The second is raw, (number of images,): an annotation that is ignored, degenerate or a crowd counts as well, as it
    does in mmdet 2.28 (`CocoDataset._filter_imgs`). Annotations of images that the file does not list are passed over.

    Raises:
        ConfigError: a field is missing or of the wrong type, or an id stands there twice.
    """
    is_wanted = np.zeros(len(image_at), dtype=bool)
    rows: list[tuple[int, int, int]] = []
    kept: list[Entry] = []
    for position, image, label, annotation in _known(section, image_at, label_of, source):
        is_wanted[image] = True
        if not annotation.get("ignore", False):
            rows.append((position, image, label))
            kept.append(annotation)
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    columns = Annotations(
        image=table[:, 1],
        label=table[:, 2],
        box=_numbers(kept, "bbox", (4,), table[:, 0], source),
        area=_numbers(kept, "area", (), table[:, 0], source),
        is_crowd=np.fromiter((bool(a.get("iscrowd", False)) for a in kept), dtype=bool, count=len(kept)),
        segmentation=[a.get("segmentation") for a in kept] if with_masks else [],
    )
    return columns, is_wanted


def _known(
    section: list[Entry], image_at: dict[Any, int], label_of: dict[Any, int], source: str
) -> Iterator[tuple[int, int, int, Entry]]:
    seen: set[Any] = set()
    for position, annotation in enumerate(section):
        # Three plain look-ups in the common case: a big file has a million annotations.
        try:
            annotation_id, image_id, category_id = annotation["id"], annotation["image_id"], annotation["category_id"]
            image, label = image_at.get(image_id), label_of.get(category_id)
            is_new = annotation_id not in seen
        except KeyError as error:
            place = _place(source, "annotations", position, annotation)
            raise MissingFieldError(f"{place} has no {error.args[0]!r}") from None
        except TypeError:
            place = _place(source, "annotations", position, annotation)
            raise ConfigError(f"{place}: 'id', 'image_id' and 'category_id' must be numbers or strings") from None
        if image is None:
            continue
        if not is_new:
            place = _place(source, "annotations", position, annotation)
            raise ConfigError(f"{place}: the id stands there twice; annotation ids must be unique")
        seen.add(annotation_id)
        if label is not None:
            yield position, image, label, annotation


def _numbers(
    annotations: list[Entry], name: str, shape: tuple[int, ...], positions: npt.NDArray[np.int64], source: str
) -> npt.NDArray[np.float64]:
    """One field of every annotation as an array; checked in bulk, item by item only to name the culprit."""
    try:
        values = np.array([annotation[name] for annotation in annotations])
        # A string or None among the numbers would change the kind of the whole array.
        if len(annotations) == 0 or (
            values.shape[1:] == shape and values.dtype.kind in "iuf" and bool(np.isfinite(values).all())
        ):
            return values.astype(np.float64).reshape(-1, *shape)
    except (KeyError, ValueError):
        pass  # the loop below finds which one it was
    for annotation, position in zip(annotations, positions.tolist(), strict=True):
        value = _field(annotation, name, source, "annotations", position)
        items = value if shape and isinstance(value, list) else [value]
        if len(items) != int(np.prod(shape)) or not all(map(_is_number, items)):
            rule = f"a list of {shape[0]} numbers" if shape else "a number"
            place = _place(source, "annotations", position, annotation)
            raise ConfigError(f"{place}: {name!r} must be {rule}, not {value!r:.80}")
    raise ConfigError(f"{source}: the field {name!r} of the annotations is not made of numbers")
