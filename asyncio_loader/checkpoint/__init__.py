"""Checkpoints of torch, read as a stream and without trust: shared by training and by the plug-in for OpenMMLab."""
