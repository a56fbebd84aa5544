"""COCO annotation files: from JSON to the boxes, labels and image infos that mmdet 2.x makes of them. Pure: no I/O."""

from __future__ import annotations

from asyncio_loader.coco.index import CocoIndex

__all__ = ["CocoIndex"]
