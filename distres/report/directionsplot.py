"""Pictures of a directional FSC: resolution over the half-sphere, and occupancy over frequency."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from distres.kernels.directions import tilt_and_rotation
from distres.methods.fsc_directional import DirectionalResult
from distres.report.figures import plain, write_both
from distres.report.halfsphere import draw_half_sphere


def draw_directions(result: DirectionalResult, *, title: str = "") -> Figure:
    """Draw resolution by direction: the z axis in the middle, the equator at the rim."""
    tilt, turn = tilt_and_rotation(result.cones.directions).T
    values = result.resolution_angstrom
    sizes = 2600 / np.sqrt(len(values))
    return draw_half_sphere(tilt, turn, values, sizes, label="resolution (Å)", title=title)


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
