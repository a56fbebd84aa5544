"""`model.backbone` and `model.neck`: torchvision's ResNet under its feature pyramid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.sections import Section
from asyncio_loader.training.weights import BACKBONE_PREFIXES, backbone_prefixes, load_pretrained

__all__ = ["ResNetFPN", "build_backbone"]

_DEPTHS = (18, 34, 50, 101, 152)
_STEM = ("conv1", "bn1")


class ResNetFPN(nn.Module):
    """ResNet stages under a feature pyramid.

    Takes (N, 3, H, W), gives an ordered dict of (N, `out_channels`, H / stride, W / stride) maps named "0", "1", …
    from fine to coarse, "pool" the last where there is one level more than stages.

    Parameters are called ``body.*`` and ``fpn.*``, as in torchvision's own detectors, so that their weights fit.

    Attributes:
        out_channels: channels of every map.
        level_count: number of maps.
    """

    def __init__(
        self,
        body: nn.Module,
        fpn: nn.Module,
        *,
        out_channels: int,
        level_count: int,
        frozen_stages: int,
        norm_eval: bool,
    ) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = out_channels
        self.level_count = level_count
        self._norm_eval = norm_eval
        # The stem is stage 0 of the dialect, `layer1` stage 1; -1 freezes nothing.
        stages = [*_STEM, *(f"layer{stage}" for stage in range(1, frozen_stages + 1))] if frozen_stages >= 0 else []
        self._frozen = [module for name, module in body.named_children() if name in stages]
        for module in self._frozen:
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.fpn(self.body(images))
        return maps

    def train(self, mode: bool = True) -> ResNetFPN:
        """Training mode, except that frozen stages keep their statistics, and all norms do with `norm_eval`."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        if self._norm_eval:
            for module in self.body.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def build_backbone(
    backbone: Section, neck: Section, *, trusted: Sequence[str] = (), s3_client: FileClient | None = None
) -> ResNetFPN:
    """The `backbone` and `neck` of a config. `trusted`, `s3_client`: see `read_checkpoint`.

    Raises:
        ConfigError: a key or value that torchvision's ResNet or FPN has no counterpart for, or pretrained weights that
            cannot be read.
    """
    with backbone, neck:
        resnet, depth_channels = _resnet(backbone)
        stages = _stages(backbone)
        frozen_stages = backbone.count("frozen_stages", -1, least=-1)
        if frozen_stages > 4:
            raise backbone.error("frozen_stages", "must be from -1 (none) to 4 (all)")
        norm_eval = backbone.flag("norm_eval", True)
        _load_weights(resnet, backbone, trusted, s3_client)
        channels = [depth_channels * 2**stage for stage in stages]
        fpn, out_channels, level_count = _fpn(neck, channels)
    body = IntermediateLayerGetter(resnet, {f"layer{stage + 1}": str(i) for i, stage in enumerate(stages)})
    return ResNetFPN(
        body,
        fpn,
        out_channels=out_channels,
        level_count=level_count,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
    )


def _resnet(backbone: Section) -> tuple[nn.Module, int]:
    """The network, and the channels of its first stage."""
    backbone.choice("type", ["ResNet"])
    depth = backbone.choice("depth", _DEPTHS)
    backbone.fixed(
        "torchvision's ResNet has no other",
        num_stages=4,
        in_channels=3,
        stem_channels=None,
        strides=[1, 2, 2, 2],
        dilations=[1, 1, 1, 1],
        style="pytorch",
        deep_stem=False,
        avg_down=False,
        conv_cfg=None,
        dcn=None,
        stage_with_dcn=[False, False, False, False],
        plugins=None,
    )
    # Checkpointing of activations saves memory and changes no number.
    backbone.ignore("with_cp")
    make = getattr(torchvision.models, f"resnet{depth}")
    network: nn.Module = make(
        weights=None,
        norm_layer=_norm_layer(backbone),
        zero_init_residual=backbone.flag("zero_init_residual", True),
    )
    return network, 64 if depth < 50 else 256


def _norm_layer(backbone: Section) -> Callable[[int], nn.Module]:
    with backbone.section("norm_cfg", {"type": "BN", "requires_grad": True}) as norm:
        kind = norm.choice("type", ["BN", "GN"], why="batch or group normalization")
        trains = norm.flag("requires_grad", True)
        eps = norm.number("eps", 1e-5)
        if kind == "BN":
            make: Callable[[int], nn.Module] = partial(nn.BatchNorm2d, eps=eps)
        else:
            make = partial(nn.GroupNorm, norm.count("num_groups", least=1), eps=eps)

    def layer(channels: int) -> nn.Module:
        return make(channels).requires_grad_(trains)

    return layer


def _stages(backbone: Section) -> list[int]:
    stages = backbone.take("out_indices", (0, 1, 2, 3))
    ok = isinstance(stages, list | tuple) and list(stages) == sorted({*stages} & {0, 1, 2, 3}) and stages
    if not ok:
        raise backbone.error("out_indices", "must be some of 0, 1, 2, 3, in this order")
    return list(stages)


def _load_weights(resnet: nn.Module, backbone: Section, trusted: Sequence[str], s3_client: FileClient | None) -> None:
    backbone.fixed("say init_cfg=dict(type='Pretrained', checkpoint=…)", pretrained=None)
    if not backbone.has("init_cfg"):
        return
    # A detector has no classifier, so the one in a file is left over, and none is missing where a file has none.
    resnet.fc = nn.Identity()
    with backbone.section("init_cfg") as init:
        init.choice("type", ["Pretrained"], why="without pretrained weights say init_cfg=None")
        checkpoint, has_prefix = init.text("checkpoint"), init.has("prefix")
        prefixes = backbone_prefixes(init.text("prefix")) if has_prefix else BACKBONE_PREFIXES
        load_pretrained(
            resnet,
            checkpoint,
            prefixes=prefixes,
            must_have_prefix=has_prefix,
            path=init.at("checkpoint"),
            trusted=trusted,
            s3_client=s3_client,
        )


def _fpn(neck: Section, channels: list[int]) -> tuple[nn.Module, int, int]:
    """The pyramid, its channels, and how many maps it gives."""
    neck.choice("type", ["FPN"])
    neck.choice("in_channels", [channels], why="these are the backbone's")
    out_channels = neck.count("out_channels", least=1)
    levels = neck.choice("num_outs", [len(channels), len(channels) + 1], why="one per stage, and one pooled")
    neck.fixed(
        "torchvision's FPN has no other",
        start_level=0,
        end_level=-1,
        add_extra_convs=False,
        relu_before_extra_convs=False,
        no_norm_on_lateral=False,
        conv_cfg=None,
        norm_cfg=None,
        act_cfg=None,
        upsample_cfg={"mode": "nearest"},
        init_cfg=None,
    )
    extra = LastLevelMaxPool() if levels > len(channels) else None
    return FeaturePyramidNetwork(channels, out_channels, extra_blocks=extra), out_channels, levels
