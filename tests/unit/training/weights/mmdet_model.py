"""mmdet's Faster R-CNN as far as weights go: the names and shapes of its module tree, and what its heads compute.

Written from mmdet 2.28 and 3.3: `ResNet`, `FPN`, `RPNHead`, `Shared2FCBBoxHead`. Shares no code with the mapping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the idiom of torch

Shape = tuple[int, ...]

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def mmdet_shapes(
    depth: int = 50,
    *,
    classes: int = 80,
    channels: int = 256,
    width: int = 1024,
    anchors: int = 3,
    norm: str = "bn",
    is_before_2: bool = False,
    is_agnostic: bool = False,
) -> dict[str, Shape]:
    """Names and shapes of a Faster R-CNN over a ResNet, in the order of the module tree."""
    head = "bbox_head" if is_before_2 else "roi_head.bbox_head"
    box_rows = 4 if is_agnostic else 4 * (classes + is_before_2)
    expansion = 1 if depth < 50 else 4
    names = dict(_resnet(depth, norm))
    for level in range(4):
        names |= _layer(f"neck.lateral_convs.{level}.conv", (channels, 64 * expansion * 2**level, 1, 1))
    for level in range(4):
        names |= _layer(f"neck.fpn_convs.{level}.conv", (channels, channels, 3, 3))
    names |= _layer("rpn_head.rpn_conv", (channels, channels, 3, 3))
    names |= _layer("rpn_head.rpn_cls", (anchors, channels, 1, 1))
    names |= _layer("rpn_head.rpn_reg", (4 * anchors, channels, 1, 1))
    names |= _layer(f"{head}.fc_cls", (classes + 1, width))
    names |= _layer(f"{head}.fc_reg", (box_rows, width))
    names |= _layer(f"{head}.shared_fcs.0", (width, channels * 7 * 7))
    return names | _layer(f"{head}.shared_fcs.1", (width, width))


def mmdet_state(seed: int = 0, **options: object) -> dict[str, Tensor]:
    """Random values for `mmdet_shapes`, small enough that nothing overflows."""
    generator = torch.Generator().manual_seed(seed)
    shapes = mmdet_shapes(**options)  # type: ignore[arg-type]
    # Only the counters of norms have no dimension.
    return {name: torch.rand(s, generator=generator) / 8 if s else torch.tensor(7) for name, s in shapes.items()}


def _layer(name: str, shape: Shape) -> dict[str, Shape]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _resnet(depth: int, norm: str) -> Iterator[tuple[str, Shape]]:
    yield "backbone.conv1.weight", (64, 3, 7, 7)
    yield from _norm(f"backbone.{norm}1", 64)
    inside = 64
    for stage, count in enumerate(_BLOCKS[depth]):
        planes = 64 * 2**stage
        outside = planes if depth < 50 else 4 * planes
        kernels = (3, 3) if depth < 50 else (1, 3, 1)
        for block in range(count):
            name = f"backbone.layer{stage + 1}.{block}"
            entry = inside
            for number, kernel in enumerate(kernels, start=1):
                exit_ = outside if number == len(kernels) else planes
                yield f"{name}.conv{number}.weight", (exit_, entry, kernel, kernel)
                yield from _norm(f"{name}.{norm}{number}", exit_)
                entry = exit_
            if block == 0 and inside != outside:
                yield f"{name}.downsample.0.weight", (outside, inside, 1, 1)
                yield from _norm(f"{name}.downsample.1", outside, norm)
            inside = outside


def _norm(name: str, size: int, norm: str = "") -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)
    if "gn" in (norm, name.rpartition(".")[2][:2]):
        return
    yield f"{name}.running_mean", (size,)
    yield f"{name}.running_var", (size,)
    yield f"{name}.num_batches_tracked", ()


def pyramid(state: Mapping[str, Tensor], maps: list[Tensor]) -> list[Tensor]:
    """`FPN` with one pooled level more than it is given."""
    laterals = [_conv(state, f"neck.lateral_convs.{i}.conv", m) for i, m in enumerate(maps)]
    for level in range(len(laterals) - 1, 0, -1):
        laterals[level - 1] = laterals[level - 1] + F.interpolate(laterals[level], laterals[level - 1].shape[-2:])
    outs = [_conv(state, f"neck.fpn_convs.{i}.conv", lateral) for i, lateral in enumerate(laterals)]
    return [*outs, F.max_pool2d(outs[-1], 1, stride=2)]


def proposals(state: Mapping[str, Tensor], feature: Tensor) -> tuple[Tensor, Tensor]:
    """`RPNHead` of a map (N, C, H, W): scores (N, H W A) and deltas (N, H W A, 4)."""
    hidden = F.relu(_conv(state, "rpn_head.rpn_conv", feature))
    scores = _conv(state, "rpn_head.rpn_cls", hidden).permute(0, 2, 3, 1).reshape(len(feature), -1).sigmoid()
    deltas = _conv(state, "rpn_head.rpn_reg", hidden).permute(0, 2, 3, 1).reshape(len(feature), -1, 4)
    return scores, deltas


def detections(state: Mapping[str, Tensor], pooled: Tensor) -> tuple[Tensor, Tensor]:
    """`Shared2FCBBoxHead` of (R, C, 7, 7): scores (R, classes + 1), background last, and deltas (R, classes, 4)."""
    head = "roi_head.bbox_head"
    hidden = pooled.flatten(1)
    for layer in range(2):
        hidden = F.relu(_linear(state, f"{head}.shared_fcs.{layer}", hidden))
    scores = _linear(state, f"{head}.fc_cls", hidden).softmax(dim=-1)
    deltas = _linear(state, f"{head}.fc_reg", hidden).reshape(len(pooled), -1, 4)
    return scores, deltas.expand(-1, scores.shape[1] - 1, -1)


def anchors(stride: int, scales: list[float], ratios: list[float], side: int) -> Tensor:
    """`AnchorGenerator` over a square map of `side` cells: (side² A, 4) xyxy, with fractions of pixels."""
    h_ratios = torch.tensor(ratios).sqrt()
    widths = (stride / h_ratios[:, None] * torch.tensor(scales)[None, :]).reshape(-1)
    heights = (stride * h_ratios[:, None] * torch.tensor(scales)[None, :]).reshape(-1)
    base = torch.stack([-widths / 2, -heights / 2, widths / 2, heights / 2], dim=-1)
    rows, columns = torch.meshgrid(torch.arange(side) * stride, torch.arange(side) * stride, indexing="ij")
    shifts = torch.stack([columns.flatten(), rows.flatten()] * 2, dim=-1)
    return (shifts[:, None, :] + base[None, :, :]).reshape(-1, 4)


def _conv(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])
