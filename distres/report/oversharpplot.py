"""Picture of an oversharpening scan: DeepRes under each B-factor, and what the halves allow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distres.report.figures import plain, write_both

_DEEPRES, _HALVES, _GUINIER = "#0072b2", "#d55e00", "#009e73"  # Okabe & Ito


def draw(found: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draw the curve of a scan.

    Parameters
    ----------
    found
        The entry ``oversharp`` of ``run.json``.
    title
        Shown above.
    """
    curve = {name: np.array(values, float) for name, values in found["curve"].items()}
    b = curve["b_square_angstrom"]
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(
        b,
        curve["p5_angstrom"],
        curve["p80_angstrom"],
        color=_DEEPRES,
        alpha=0.12,
        linewidth=0,
        label="DeepRes, 5 to 80 %",
    )
    percent = f"{found['percent']:g} %"
    axes.plot(b, curve["deepres_angstrom"], "o-", color=_DEEPRES, label=f"DeepRes, {percent}")
    axes.axhline(
        found["halves_angstrom"], color=_HALVES, linestyle="--", label=f"halves, {percent}"
    )
    chosen = found["b_square_angstrom"]
    words = f"both coincide: B = {chosen:+.0f} Å²" if found["reached"] else "end of the scan"
    axes.axvline(chosen, color=_HALVES, linewidth=1.2, label=words)
    axes.axvline(0, color="#999999", linewidth=0.8, linestyle=":", label="the map as it is")
    guinier = found["b_guinier_square_angstrom"]
    if guinier is not None:
        axes.axvline(
            guinier, color=_GUINIER, linestyle="-.", label=f"Guinier fit: B = {guinier:+.0f} Å²"
        )
    axes.invert_xaxis()
    axes.set_xlabel("B-factor applied (Å²): blur on the left, sharpening on the right")
    axes.set_ylabel("resolution (Å), finer downwards")
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(plain(title), fontsize=9, loc="left")
    return figure


def write_pictures(directory: Path, stem: str, found: Mapping[str, Any]) -> list[Path]:
    """Write `draw` as ``<stem>_curve.svg`` and ``<stem>_curve.png``."""
    return write_both(draw(found, title=stem), directory, f"{stem}_curve")
