"""Pictures of a MonoDir run: preferred directions on the half-sphere, and profiles over radius."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distres.report.figures import plain, write_both
from distres.report.halfsphere import draw_half_sphere

# Name in the record, words, colour and line.
_CURVES = (
    ("highest", "highest", "#0072b2", "-"),
    ("monores", "MonoRes", "#7f7f7f", "-"),
    ("radial", "radial", "#009e73", "--"),
    ("tangential", "tangential", "#d55e00", "--"),
    ("lowest", "lowest", "#cc79a7", "-"),
)


def draw_directions(record: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draw how many voxels have their highest resolution along each direction.

    The area of a dot is the share of voxels, its colour their mean resolution; directions without
    any are crosses.

    Parameters
    ----------
    record
        ``run.json`` of a MonoDir run.
    title
        Shown above, as it is.
    """
    rows = record["monodir"]["preferred_directions"]
    tilt, turn, share, resolution = (
        np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        for name in ("tilt_degrees", "rotation_degrees", "share", "resolution_angstrom")
    )
    largest = max(float(share.max()), 1e-12)
    words = f"largest dot: highest resolution of {100 * largest:.0f} % of the voxels"
    return draw_half_sphere(
        tilt,
        turn,
        np.where(share > 0, resolution, np.nan),
        3600 / np.sqrt(len(share)) * share / largest,
        label="mean resolution there (Å)",
        title=f"{title}\n{words}",
    )


def draw_profiles(record: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draw mean resolution against radius with the fitted lines; finer is higher up.

    Parameters
    ----------
    record, title
        As in `draw_directions`.
    """
    profiles = record["monodir"]["profiles"]
    radius = np.array(profiles["radius_angstrom"])
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shown = []
    for name, words, colour, style in _CURVES:
        mean = np.array([np.nan if v is None else v for v in profiles["means_angstrom"][name]])
        known = np.isfinite(mean)
        if not known.any():
            continue
        shown.append(mean[known])
        line = profiles["lines"][name]
        label = words
        if line["slope"] is not None:
            label += f": {line['slope']:+.4f} ± {line['slope_error']:.4f} Å/Å"
            ends = np.array(profiles["fitted_angstrom"])
            axes.plot(
                ends,
                line["intercept_angstrom"] + line["slope"] * ends,
                color=colour,
                linewidth=0.8,
                alpha=0.6,
            )
        axes.plot(radius, mean, color=colour, linestyle=style, linewidth=1.8, label=label)
    axes.set_xlabel("distance from the centre (Å)")
    axes.set_ylabel("mean resolution (Å)")
    if shown:
        every = np.concatenate(shown)
        margin = 0.06 * (every.max() - every.min()) + 0.05
        axes.set_ylim(float(every.max() + margin), float(every.min() - margin))
        words = "slope of the fitted line, rim left out"
        axes.legend(frameon=False, fontsize=8, title=words, title_fontsize=8)
    else:
        axes.text(0.5, 0.5, "no radius has a resolution", ha="center", transform=axes.transAxes)
    axes.grid(alpha=0.3)
    axes.spines[["right", "top"]].set_visible(False)
    axes.set_title(plain(title), fontsize=10)
    return figure


def write_pictures(directory: Path, stem: str, record: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Write ``<stem>_directions`` and ``<stem>_profiles`` as SVG and PNG.

    Returns
    -------
    dict
        By caption, the files: SVG first.
    """
    found: dict[str, list[Path]] = {}
    for name, caption, draw in (
        ("directions", "Preferred directions", draw_directions),
        ("profiles", "Resolution against radius", draw_profiles),
    ):
        figure = draw(record, title=f"{stem}: {caption.lower()}")
        found[caption] = write_both(figure, directory, f"{stem}_{name}")
    return found
