"""Directions as dots on the half-sphere, in the colours of every map."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from distres.report.colours import RAMP
from distres.report.figures import plain

Float = npt.NDArray[np.float64]


def draw_half_sphere(
    tilt_degrees: Float,
    rotation_degrees: Float,
    resolution_angstrom: Float,
    sizes: Float | float,
    *,
    label: str,
    title: str,
) -> Figure:
    """Draw one dot a direction; blue is high resolution, as in every picture.

    The z axis is in the middle and the equator at the rim, equal areas on paper for equal areas on
    the sphere. Directions without a resolution are crosses.

    Parameters
    ----------
    tilt_degrees, rotation_degrees
        (directions,) angle from z, and from x towards y.
    resolution_angstrom
        (directions,), NaN where there is none.
    sizes
        Area of the dots in square points, one for all or (directions,).
    label
        Of the colour bar.
    title
        Shown above, as it is.
    """
    figure = Figure(figsize=(5.8, 5.2), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    turn, reach = np.radians(rotation_degrees), _reach(tilt_degrees)
    known = np.isfinite(resolution_angstrom)
    dots = axes.scatter(
        turn[known],
        reach[known],
        c=resolution_angstrom[known],
        s=np.broadcast_to(sizes, known.shape)[known],
        cmap=LinearSegmentedColormap.from_list("distres", RAMP),
    )
    axes.scatter(turn[~known], reach[~known], marker="x", color="#888888", s=18)
    axes.set_ylim(0, 1.04)
    axes.set_yticks(_reach((30, 60, 90)), ["30°", "60°", "90°"])
    if known.any():
        figure.colorbar(dots, ax=axes, label=label, shrink=0.8)
    axes.set_title(plain(title), fontsize=9)
    return figure


def _reach(tilt_degrees: Float | Sequence[float]) -> Float:
    """Return the distance from the middle, 1 at the equator."""
    return np.asarray(np.sqrt(2) * np.sin(np.radians(tilt_degrees) / 2))
