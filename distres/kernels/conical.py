"""Fourier shell correlation by direction: cones, occupancy, anisotropy.

Conical FSC after Tan et al. 2017, Nature Methods 14, 793; Fourier shell occupancy after Vilas &
Tagare 2023, Nature Methods 20, 1711, with the Bingham test as Bingham (1974) and Mardia & Jupp
give it.
"""

from dataclasses import dataclass
from functools import cached_property
from math import cos, pi, radians

import numpy as np
from scipy.stats import chi2

from distres.kernels.cells import Cells
from distres.kernels.shell_thresholds import first_crossing
from distres.kernels.shells import Float

# Shells 1 and 2 hold a few coefficients of no direction in particular.
FIRST_SHELL = 3


@dataclass(frozen=True, kw_only=True)
class Cones:
    """Soft cones around directions.

    Parameters
    ----------
    directions
        (n, 3) unit vectors (z, y, x), one of each opposite pair.
    half_angle_degrees
        Where a cone ends; its weight is ``exp(-4 ((1 - c) / (1 - cos half angle))^2)``, c the
        cosine of the angle from the axis, and a fiftieth there.
    cells
        Cells of direction that the sums are over.
    """

    directions: Float
    half_angle_degrees: float = 17.0
    cells: Cells

    @cached_property
    def weights(self) -> Float:
        """(n, cells): share of every cell in every cone."""
        cosine = np.abs(self.directions @ self.cells.directions.T)
        limit = 1 - cos(radians(self.half_angle_degrees))
        depth = (1 - cosine) / limit
        found: Float = np.where(depth <= 1, np.exp(-4 * depth**2), 0.0)
        return found

    @cached_property
    def overlap(self) -> float:
        """Mean number of cones that say the same as one: all of them over the independent ones.

        Two cones whose weights have a cosine q share q^2 of their variance.
        """
        norms = np.linalg.norm(self.weights, axis=1)
        alike = (self.weights @ self.weights.T) / np.outer(norms, norms)
        return float((alike**2).sum(axis=1).mean())

    def curves(self, sums: Float) -> Float:
        """Correlations (n, shells) from `cell_sums`; NaN where a cone holds no coefficient."""
        cross, power1, power2, number = (column @ self.weights.T for column in sums)
        norm = np.sqrt(power1 * power2)
        with np.errstate(divide="ignore", invalid="ignore"):
            curve = np.where(norm > 0, cross / norm, 0.0)
        curve = np.where(number > 0, curve, np.nan)
        curve[0] = 1.0
        found: Float = curve.T
        return found

    def over_cells(self, curves: Float) -> Float:
        """Mean of the cones at every cell, (cells, shells): the 3D FSC as a table.

        What no cone defines is 1 in shells that hold too few coefficients for cones.
        """
        known = np.isfinite(curves)
        total = self.weights.T @ np.where(known, curves, 0.0)
        weight = self.weights.T @ known.astype(np.float64)
        found: Float = np.where(weight > 0, total / np.where(weight > 0, weight, 1), 1.0)
        return found


def direction_shells(curves: Float, threshold: float, *, run: int = 3) -> Float:
    """Crossing of every direction in shells: 0 where never above, NaN where never below."""
    found = []
    for curve in curves:
        filled = np.nan_to_num(curve, nan=1.0)
        filled[:FIRST_SHELL] = np.maximum(filled[:FIRST_SHELL], threshold)
        crossing = first_crossing(filled, threshold, run=run)
        found.append(np.nan if crossing is None else crossing)
    return np.array(found)


def occupancy(curves: Float, threshold: float) -> Float:
    """Fourier shell occupancy (shells,): the share of directions at or above the threshold."""
    known = np.isfinite(curves)
    above = np.where(known, curves, 0.0) >= threshold
    number = known.sum(axis=0)
    share: Float = np.where(number > 0, above.sum(axis=0) / np.maximum(number, 1), 1.0)
    share[:FIRST_SHELL] = 1.0
    return share


def bingham_p_values(curves: Float, cones: Cones, threshold: float) -> Float:
    """Probability, per shell, that isotropic directions pass as unevenly as these do.

    ``S = 15 / 2 n (tr T^2 - 1 / 3)`` with T the mean of u u' over the n directions above the
    threshold; for n independent uniform axes S is chi-square with 5 degrees of freedom. Two things
    differ here. Cones overlap, so n counts independent ones. And they are drawn from N directions
    that are uniform together, without return: T varies less by ``1 - n / N``, which S is divided
    by. Without it a small gap in many directions would go unseen. Small values mean anisotropy;
    on isotropic halves of 48^3 voxels 9 % of the shells in transition lie below 0.05.
    """
    above = np.where(np.isfinite(curves), curves, 1.0) >= threshold
    number = above.sum(axis=0)
    u = cones.directions
    inertia = np.einsum("ns,ni,nj->sij", above.astype(np.float64), u, u)
    inertia /= np.maximum(number, 1)[:, None, None]
    spread = np.einsum("sij,sij->s", inertia, inertia) - 1 / 3
    statistic = 7.5 * (number / cones.overlap) * np.maximum(spread, 0)
    drawn = (number > 0) & (number < len(u))
    drawn[:FIRST_SHELL] = False
    left = np.where(drawn, 1 - number / len(u), 1.0)
    p: Float = np.where(drawn, chi2.sf(statistic / left, 5), 1.0)
    return p


def sphericity(directions: Float, radii: Float, cells: Cells) -> float:
    """Sphericity of the surface at distance `radii` along directions: 1 for a sphere.

    ``pi^(1/3) (6 V)^(2/3) / A`` with volume and area of the star-shaped surface, its radius
    smoothed over the cells of direction by the nearest directions.
    """
    cosine = np.abs(cells.directions @ directions.T)
    near = np.exp((cosine - 1) / (1 - cos(radians(6.0))))
    radius = (near @ radii) / near.sum(axis=1)
    rings, turn_step = cells.rings, 2 * pi / 72
    turns = (np.arange(72) + 0.5) * turn_step
    tilts = (np.arange(rings) + 0.5) * (pi / 2 / rings)
    sine, cosine_tilt = np.sin(tilts)[:, None], np.cos(tilts)[:, None]
    place = cells.index(
        np.broadcast_to(cosine_tilt, (rings, 72)), sine * np.sin(turns), sine * np.cos(turns)
    )
    r = radius[place]
    by_tilt = np.gradient(r, tilts, axis=0)
    by_turn = (np.roll(r, -1, axis=1) - np.roll(r, 1, axis=1)) / (2 * turn_step)
    solid = sine * (pi / 2 / rings) * turn_step
    slope = np.sqrt(r**2 + by_tilt**2 + (by_turn / sine) ** 2)
    volume = 2 * float((r**3 / 3 * solid).sum())
    area = 2 * float((r * slope * solid).sum())
    return float(pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)
