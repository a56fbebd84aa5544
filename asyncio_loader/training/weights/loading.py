"""Weights of a checkpoint, wherever it lies and whoever wrote it, go into a module; what does not fit is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.weights.checkpoint import read_state_dict
from asyncio_loader.training.weights.dialects import Weight, translate
from asyncio_loader.training.weights.location import locate

__all__ = ["BACKBONE_PREFIXES", "backbone_prefixes", "load_pretrained"]

_LOG = logging.getLogger(__name__)

BACKBONE_PREFIXES = ("backbone.body.", "backbone.")
"""Where a checkpoint of a whole detector keeps its backbone: torchvision's and ours (mmdet's, once translated), and
anybody else's."""

_COUNTER = "num_batches_tracked"


def backbone_prefixes(prefix: str) -> tuple[str, ...]:
    """What `prefix` of an ``init_cfg`` can mean, with or without its last dot, after a file has been translated."""
    prefix = prefix.removesuffix(".")
    return (f"{prefix}.body.", f"{prefix}.")


def load_pretrained(
    module: nn.Module,
    checkpoint: str,
    *,
    prefixes: Sequence[str] = (),
    must_have_prefix: bool = False,
    path: str = "checkpoint",
    trusted: Sequence[str] = (),
    s3_client: FileClient | None = None,
) -> None:
    """Load what fits of a checkpoint into a module, and log by name what does not.

    Names and layouts of mmdet, mmpretrain and older torchvision become torchvision's first: see
    `dialects.translate`. What does not fit stays as it was: a head for another number of classes, say.

    Args:
        module: a module with torchvision's names.
        checkpoint: a local path, a URI that `FileClient` knows, or a download that torch.hub has in its cache.
        prefixes: the first that occurs, after translation, selects the tensors under it; where none occurs, all are
            taken.
        must_have_prefix: refuse a file in which none occurs.
        path: what errors call the checkpoint: the dotted path of the config key.
        trusted, s3_client: see `read_checkpoint`.

    Raises:
        ConfigError: the file is missing, no weights, not trusted, needs a download, or nothing of it fits; one line
            that names `path`. The module is as it was.
        FetchError: the object could not be had.
    """
    name = f"{path}={checkpoint!r}"
    uri = locate(checkpoint, path=path)
    weights = translate(read_state_dict(uri, path=path, trusted=trusted, s3_client=s3_client))
    chosen = _select(weights, prefixes)
    if chosen is None and must_have_prefix:
        raise ConfigError(f"{name} has no tensor under the prefix {prefixes[-1]!r}, only such as {_sample(weights)}")
    weights = weights if chosen is None else chosen
    own = module.state_dict()
    fits = {key: w.value for key, w in weights.items() if key in own and own[key].shape == w.value.shape}
    if not _relevant(fits):
        raise ConfigError(
            f"{name}: none of its {len(weights)} tensors fits the model; "
            f"it has {_sample(weights)}, the model has {_sample(own)}"
        )
    module.load_state_dict(fits, strict=False)
    _report(checkpoint, weights, own, fits)


def _report(
    checkpoint: str, weights: Mapping[str, Weight], own: Mapping[str, Tensor], fits: Mapping[str, Tensor]
) -> None:
    """One record: a warning where something did not fit. Batch counters never matter: no norm here reads them."""
    wrong = [key for key in _relevant(weights) if key in own and key not in fits]
    unexpected = [weights[key].source for key in _relevant(weights) if key not in own]
    missing = [key for key in _relevant(own) if key not in weights]
    lines = [f"{checkpoint}: {len(_relevant(fits))} of the model's {len(_relevant(own))} tensors loaded"]
    lines += [
        f"size mismatch: {key} is {tuple(own[key].shape)} in the model, {tuple(weights[key].shape)} in the file"
        + (f" ({weights[key].source})" if weights[key].source != key else "")
        for key in wrong
    ]
    lines += [f"unexpected keys: {', '.join(unexpected)}"] * bool(unexpected)
    lines += [f"missing keys: {', '.join(missing)}"] * bool(missing)
    _LOG.log(logging.WARNING if len(lines) > 1 else logging.INFO, "%s", "\n".join(lines))


def _select(weights: Mapping[str, Weight], prefixes: Sequence[str]) -> dict[str, Weight] | None:
    for prefix in prefixes:
        chosen = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        if chosen:
            return chosen
    return None


def _relevant(names: Mapping[str, object]) -> list[str]:
    return [name for name in names if not name.endswith(_COUNTER)]


def _sample(names: Mapping[str, object]) -> str:
    return repr(next(iter(names), None))
