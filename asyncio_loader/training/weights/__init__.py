"""Weights: checkpoints of this project, torchvision, mmdet and mmpretrain, read from anywhere."""

from asyncio_loader.training.weights.checkpoint import read_checkpoint, read_state_dict
from asyncio_loader.training.weights.loading import BACKBONE_PREFIXES, load_pretrained

__all__ = ["BACKBONE_PREFIXES", "load_pretrained", "read_checkpoint", "read_state_dict"]
