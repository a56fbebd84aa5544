"""The keys of a COCO data set in a config, in the dialect of mmdet 2.x or in that of 3.x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncio_loader.checks import whole_number
from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.three import as_client_args

__all__ = ["CocoKeys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoKeys:
    """What the keys of either dialect say.

    Attributes:
        is_3x: the pipeline gets samples of mmdet 3.x.
        img_prefix: directory of the images.
        seg_prefix: directory of the semantic maps.
        classes: names of the wanted categories, or the name of a file of them.
        filter_empty_gt: leave out images without annotations of the wanted categories.
        min_size: leave out images whose shorter side has fewer pixels.
        client_args: where files are.
        metainfo: of 3.x, as it was given.
    """

    is_3x: bool = False
    img_prefix: str | None = None
    seg_prefix: str | None = None
    classes: Sequence[str] | str | None = None
    filter_empty_gt: bool = True
    min_size: int = 32
    client_args: Mapping[str, Any] | None = None
    metainfo: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, *, keys_2x: Mapping[str, Any], keys_3x: Mapping[str, Any]) -> CocoKeys:
        """Read the keys of a data set.

        Args:
            keys_2x: `img_prefix`, `seg_prefix`, `classes`, `filter_empty_gt`, `file_client_args`.
            keys_3x: `data_prefix`, `metainfo`, `filter_cfg`, `backend_args`; one that is not None makes it 3.x.

        Raises:
            ConfigError: keys of both dialects are given, or a value is wrong.
        """
        given_3x = [name for name, value in keys_3x.items() if value is not None]
        if not given_3x:
            return cls(
                img_prefix=keys_2x["img_prefix"],
                seg_prefix=keys_2x["seg_prefix"],
                classes=keys_2x["classes"],
                filter_empty_gt=keys_2x["filter_empty_gt"],
                client_args=keys_2x["file_client_args"],
            )
        # The one of them that is True unless it is said.
        given_2x = [name for name, value in keys_2x.items() if value is not None and value is not True]
        if given_2x:
            raise ConfigError(
                f"{', '.join(given_2x)} of mmdet 2.x and {', '.join(given_3x)} of 3.x: write the dataset in one dialect"
            )
        return cls._of_3x(**keys_3x)

    @classmethod
    def _of_3x(cls, *, data_prefix: Any, metainfo: Any, filter_cfg: Any, backend_args: Any) -> CocoKeys:
        prefixes = _dict_of("data_prefix", data_prefix, ("img", "seg"))
        filters = _dict_of("filter_cfg", filter_cfg, ("filter_empty_gt", "min_size"))
        meta = _dict_of("metainfo", metainfo, None)
        filter_empty_gt = filters.get("filter_empty_gt", False)
        if not isinstance(filter_empty_gt, bool):
            raise ConfigError(f"filter_cfg: filter_empty_gt must be True or False, not {filter_empty_gt!r:.80}")
        return cls(
            is_3x=True,
            img_prefix=prefixes.get("img", ""),
            seg_prefix=prefixes.get("seg"),
            classes=meta.get("classes"),
            # In 3.x nothing is filtered that the config does not name.
            filter_empty_gt=filter_empty_gt,
            min_size=whole_number("filter_cfg: min_size", filters.get("min_size", 0), least=0),
            client_args=as_client_args(None, backend_args),
            metainfo=meta,
        )


def _dict_of(name: str, value: Any, known: Sequence[str] | None) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a dict, not {value!r:.80}")
    unknown = [key for key in value if known is not None and key not in known]
    if known is not None and unknown:
        raise ConfigError(f"{name}: unknown key {unknown[0]!r}; it takes {', '.join(known)}")
    return dict(value)
