"""A table as bars: medians, and whiskers from the least to the most."""

from __future__ import annotations

import math
from pathlib import Path

from bench.comparison import Figure

__all__ = ["draw"]

_BAR_INCHES = 0.28
_GROUP_SHARE = 0.8
# Where the largest value is so many times the smallest, the small ones would not be seen.
_LOG_FROM = 100


def draw(figure: Figure, path: Path) -> str:
    """Write a PNG. Returns where it is, or why there is none, as a line to print."""
    try:
        import matplotlib as mpl
    except ImportError:
        return "no plot: matplotlib is not installed"
    mpl.use("agg")
    from matplotlib import pyplot as plt

    names = [name for name, _ in figure.lines]
    height = _GROUP_SHARE / len(figure.groups)
    canvas, axes = plt.subplots(figsize=(10, 1.8 + _BAR_INCHES * len(names) * len(figure.groups)))
    for place, group in enumerate(figure.groups):
        triples = [values[place] for _, values in figure.lines]
        middles = [middle for middle, _, _ in triples]
        whiskers = [[middle - least for middle, least, _ in triples], [most - middle for middle, _, most in triples]]
        positions = [row + (place - (len(figure.groups) - 1) / 2) * height for row in range(len(names))]
        bars = axes.barh(positions, middles, height * 0.9, xerr=whiskers, label=group, error_kw={"elinewidth": 1})
        axes.bar_label(bars, [f"{middle:,.0f}" for middle in middles], padding=4, fontsize=8)
        for position, middle in zip(positions, middles, strict=True):
            if math.isnan(middle):
                # By the frame, whatever the scale: it has no value.
                axes.text(0.005, position, "failed", va="center", fontsize=8, transform=axes.get_yaxis_transform())
    known = [middle for _, values in figure.lines for middle, _, _ in values if middle > 0]
    if known and max(known) > _LOG_FROM * min(known):
        axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(figure.axis)
    axes.set_title(figure.title, fontsize=8, wrap=True)
    axes.margins(x=0.12)
    if len(figure.groups) > 1:
        axes.legend(fontsize=8)
    canvas.tight_layout()
    canvas.savefig(path, dpi=120)
    plt.close(canvas)
    return f"plot in {path}"
