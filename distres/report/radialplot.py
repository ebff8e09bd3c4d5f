"""Picture of resolution against radius."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from distres.methods.radial import RadialResult
from distres.report.figures import plain, write_both

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def draw(result: RadialResult, *, title: str = "") -> Figure:
    """Draw one curve a threshold; finer resolutions are higher up.

    Parameters
    ----------
    result
        Radii and resolutions.
    title
        Shown above, as it is.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for place, (threshold, curve) in enumerate(result.resolution_angstrom.items()):
        axes.plot(
            result.radius_angstrom,
            curve,
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=("-", "--", "-.", ":")[place % 4],
            label=f"FSC {threshold:g}",
        )
    axes.set_xlabel("radius (Å)")
    axes.set_ylabel("resolution (Å)")
    known = [v for curve in result.resolution_angstrom.values() for v in curve if np.isfinite(v)]
    if known:
        axes.set_ylim(1.05 * max(known), 0.9 * min(known))
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "no radius has a resolution", ha="center", transform=axes.transAxes)
    axes.grid(alpha=0.3)
    axes.set_title(plain(title), fontsize=10)
    return figure


def write_pictures(directory: Path, stem: str, result: RadialResult, *, title: str) -> list[Path]:
    """Write ``<stem>_radial.svg`` and ``.png`` and return their paths."""
    return write_both(draw(result, title=title), directory, f"{stem}_radial")
