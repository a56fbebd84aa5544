"""Which batches mmdet 3.3.0's AspectRatioBatchSampler makes of the same files.

As with the cases of 2.x, a part of them lies in ``tests/data/oracle`` and always runs; all of them are looked for in
``../shared`` or in ``$ASYNCIO_LOADER_SHARED``.
"""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncio_loader.coco import CocoIndex
from asyncio_loader.order.grouped import Grouped
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "data"
SHARED = Path(os.environ.get("ASYNCIO_LOADER_SHARED", REPOSITORY.parent / "shared"))


def load(root: Path) -> list[Any]:
    path = root / "oracle" / "cases-3x.json"
    if not path.exists():
        return [pytest.param(root, {}, id="shared", marks=pytest.mark.skip(reason=f"no reference cases in {root}"))]
    cases = [case for case in json.loads(path.read_bytes())["cases"] if case["kind"] == "sampler"]
    return [pytest.param(root, case, id=f"{root.name}:{case['name']}") for case in cases]


def read_flags(root: Path, dataset: dict[str, Any]) -> list[int]:
    """The groups as 3.x has them, where a square counts as wide."""
    source = dataset["ann_file"]
    classes = dataset["metainfo"]["classes"]["items"]
    data = (root / source).read_bytes()
    index = CocoIndex.parse(data, source=source, classes=classes, is_square_wide=True, **dataset["filter_cfg"])
    return [int(flag) for flag in index.flags]


def cut(flags: list[int], sampler: dict[str, Any]) -> tuple[int, list[list[int]]]:
    """The number of batches, and the batches, as one rank gets them."""
    ordering = Grouped(flags, sampler["batch_size"], shuffle=False)
    plan = EpochPlan(
        order=ordering.of_epoch(0),
        batch_size=sampler["batch_size"],
        drop_last=sampler["drop_last"],
        unit=ordering.unit,
    )
    slots = plan.slots(Shard())
    return plan.steps, [[slot.index for slot in islice(slots, plan.batch_size)] for _ in range(plan.steps)]


@pytest.mark.parametrize(("root", "case"), [*load(GOLDEN), *load(SHARED)])
def test_like_the_reference(root: Path, case: dict[str, Any]) -> None:
    flags = read_flags(root, case["dataset"])
    # A shuffled case names the order in which its sampler, torch's own, gives the samples: it is grouped all the same.
    order = case["expected"].get("order", range(len(flags)))
    steps, batches = cut(np.array(flags)[order].tolist(), case["sampler"])

    assert case["expected"]["batches"] == [[order[place] for place in batch] for batch in batches]
    assert len(case["expected"]["batches"]) == steps
