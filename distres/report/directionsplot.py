"""Pictures of a directional FSC: resolution over the half-sphere, and occupancy over frequency."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from distres.kernels.directions import tilt_and_rotation
from distres.methods.fsc_directional import DirectionalResult
from distres.report.figures import plain, write_both


def draw_directions(result: DirectionalResult, *, title: str = "") -> Figure:
    """Draw resolution by direction: the z axis in the middle, the equator at the rim."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    tilt, turn = tilt_and_rotation(result.cones.directions).T
    values = result.resolution_angstrom
    known = np.isfinite(values)
    # Equal areas on paper for equal areas on the sphere.
    reach = np.sqrt(2) * np.sin(np.radians(tilt) / 2)
    points = axes.scatter(
        np.radians(turn[known]),
        reach[known],
        c=values[known],
        cmap="viridis_r",
        s=2600 / np.sqrt(len(values)),
    )
    axes.scatter(np.radians(turn[~known]), reach[~known], marker="x", color="#888888", s=20)
    axes.set_ylim(0, 1.04)
    axes.set_yticks(
        [np.sqrt(2) * np.sin(np.radians(t) / 2) for t in (30, 60, 90)], ["30°", "60°", "90°"]
    )
    figure.colorbar(points, ax=axes, label="resolution (Å)", shrink=0.8)
    axes.set_title(plain(title), fontsize=10)
    return figure


def draw_occupancy(result: DirectionalResult, *, title: str = "") -> Figure:
    """Draw the FSC, occupancy and the Bingham test over frequency."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    frequency = result.shells.frequency_per_angstrom
    axes.plot(frequency, result.curve, color="#0072b2", label="FSC of all directions")
    axes.plot(
        frequency, result.occupancy, color="#d55e00", linewidth=2, label="share of directions above"
    )
    axes.plot(
        frequency, result.bingham_p, color="#7f7f7f", linestyle=":", label="Bingham test, p value"
    )
    low, high = (1 / r for r in (result.zone_angstrom()[0], result.zone_angstrom()[2]))
    axes.axvspan(low, high, color="#d55e00", alpha=0.12, label="from 90 % to 10 % of directions")
    axes.set_xlabel("spatial frequency (1/Å)")
    axes.set_xlim(0, float(frequency[-1]))
    axes.set_ylim(min(-0.05, float(result.curve.min())), 1.03)
    axes.spines[["right", "top"]].set_visible(False)
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    axes.set_title(plain(title), fontsize=10)
    return figure


def write_pictures(
    directory: Path, stem: str, result: DirectionalResult, *, title: str
) -> list[Path]:
    """Write ``<stem>_directions`` and ``<stem>_occupancy`` as SVG and PNG."""
    return [
        *write_both(draw_directions(result, title=title), directory, f"{stem}_directions"),
        *write_both(draw_occupancy(result, title=title), directory, f"{stem}_occupancy"),
    ]
