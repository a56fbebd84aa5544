from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from asyncio_loader.training.backbone import ResNetFPN, build_backbone
from asyncio_loader.training.sections import Section

BACKBONE = {"type": "ResNet", "depth": 18, "norm_cfg": {"type": "BN", "requires_grad": True}, "init_cfg": None}
NECK = {"type": "FPN", "in_channels": [64, 128, 256, 512], "out_channels": 16, "num_outs": 5}


def build(neck: dict[str, Any] | None = None, **changes: Any) -> ResNetFPN:
    backbone = copy.deepcopy({**BACKBONE, **changes})
    return build_backbone(Section(backbone, "model.backbone"), Section(neck or NECK, "model.neck"))


def trainable(network: ResNetFPN) -> set[str]:
    """Names of the modules of the body that learn."""
    return {name.split(".")[0] for name, p in network.body.named_parameters() if p.requires_grad}


def test_maps_halve_from_stride_4_and_the_last_is_pooled() -> None:
    maps = build()(torch.rand(1, 3, 64, 96))

    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {
        "0": (16, 16, 24),
        "1": (16, 8, 12),
        "2": (16, 4, 6),
        "3": (16, 2, 3),
        "pool": (16, 1, 2),
    }


def test_stages_may_be_left_out() -> None:
    network = build({**NECK, "in_channels": [256, 512], "num_outs": 2}, out_indices=(2, 3))

    assert [tuple(m.shape[2:]) for m in network(torch.rand(1, 3, 64, 64)).values()] == [(4, 4), (2, 2)]
    assert network.level_count == 2


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (-1, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
        (0, {"layer1", "layer2", "layer3", "layer4"}),
        (2, {"layer3", "layer4"}),
        (4, set()),
    ],
)
def test_frozen_stages_do_not_learn(stages: int, expected: set[str]) -> None:
    assert trainable(build(frozen_stages=stages)) == expected


def test_frozen_stages_keep_their_statistics_in_training() -> None:
    network = build(frozen_stages=1, norm_eval=False).train()

    assert not network.body["bn1"].training
    assert not network.body["layer1"][0].bn1.training
    assert network.body["layer2"][0].bn1.training


def test_norm_eval_keeps_all_statistics_and_lets_the_rest_train() -> None:
    network = build(norm_eval=True).train()

    assert not any(m.training for m in network.body.modules() if isinstance(m, nn.BatchNorm2d))
    assert network.body["layer2"][0].conv1.training


def test_norms_without_gradient_do_not_learn() -> None:
    network = build(norm_cfg={"type": "BN", "requires_grad": False})

    norms = [m for m in network.body.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    assert trainable(network) >= {"conv1", "layer4"}


def test_group_norm() -> None:
    network = build(norm_cfg={"type": "GN", "num_groups": 16})

    assert isinstance(network.body["bn1"], nn.GroupNorm)


def test_residual_branches_start_at_zero_unless_told_otherwise() -> None:
    assert float(build().body["layer1"][0].bn2.weight.detach().abs().sum()) == 0.0
    assert float(build(zero_init_residual=False).body["layer1"][0].bn2.weight.detach().min()) == 1.0
