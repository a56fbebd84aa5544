"""Weights: checkpoints of this project, torchvision, mmdet and mmpretrain, read from anywhere."""

from asyncio_loader.training.weights.checkpoint import client_of, is_trusted, read_checkpoint, read_state_dict
from asyncio_loader.training.weights.conversion import convert_checkpoint
from asyncio_loader.training.weights.dialects import to_mmdet, to_torchvision
from asyncio_loader.training.weights.loading import BACKBONE_PREFIXES, backbone_prefixes, load_pretrained

__all__ = [
    "BACKBONE_PREFIXES",
    "backbone_prefixes",
    "client_of",
    "convert_checkpoint",
    "is_trusted",
    "load_pretrained",
    "read_checkpoint",
    "read_state_dict",
    "to_mmdet",
    "to_torchvision",
]
