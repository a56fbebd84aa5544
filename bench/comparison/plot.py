"""A table as bars: medians, and whiskers from the least to the most."""

from __future__ import annotations

from pathlib import Path

from bench.comparison import Figure

__all__ = ["draw"]

_BAR_INCHES = 0.28
_GROUP_SHARE = 0.8


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
    canvas, axes = plt.subplots(figsize=(10, 1.8 + _BAR_INCHES * len(names) * max(1, len(figure.groups))))
    for place, group in enumerate(figure.groups):
        triples = [values[place] for _, values in figure.lines]
        middles = [middle for middle, _, _ in triples]
        whiskers = [[middle - least for middle, least, _ in triples], [most - middle for middle, _, most in triples]]
        positions = [row + (place - (len(figure.groups) - 1) / 2) * height for row in range(len(names))]
        bars = axes.barh(positions, middles, height * 0.9, xerr=whiskers, label=group, error_kw={"elinewidth": 1})
        # NaN stands for a contender that failed.
        axes.bar_label(
            bars, [f"{middle:,.0f}" if middle == middle else "failed" for middle in middles], padding=4, fontsize=8
        )
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
