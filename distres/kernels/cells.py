"""Sums over small cells of direction, from which cones of any width follow at no cost.

The half-sphere is cut into rings of equal angle and rings into cells of nearly equal size. Every
coefficient is added once to the cell of its shell and direction; a cone is a weighted sum of cells.
"""

from dataclasses import dataclass
from functools import cached_property
from math import pi

import numpy as np
import numpy.typing as npt

from distres.kernels.shells import ALL, Complex, Float, Part, Shells

# Columns: Re F1 conj(F2), |F1|^2, |F2|^2, coefficients.
COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells of the half-sphere, about `rings` to a quarter circle.

    A direction and its opposite share a cell, as Friedel's law wants. Triples are (z, y, x).
    """

    rings: int = 30

    @cached_property
    def per_ring(self) -> npt.NDArray[np.intp]:
        """Cells of every ring from the pole to the equator."""
        middle = (np.arange(self.rings) + 0.5) * (pi / 2 / self.rings)
        number: npt.NDArray[np.intp] = np.maximum(
            np.rint(4 * self.rings * np.sin(middle)), 3
        ).astype(np.intp)
        return number

    @cached_property
    def starts(self) -> npt.NDArray[np.intp]:
        """Index of the first cell of every ring."""
        return np.concatenate([[0], np.cumsum(self.per_ring)[:-1]]).astype(np.intp)

    @property
    def count(self) -> int:
        """All cells."""
        return int(self.per_ring.sum())

    @cached_property
    def directions(self) -> Float:
        """(count, 3) unit vectors of their middles."""
        tilt = np.repeat((np.arange(self.rings) + 0.5) * (pi / 2 / self.rings), self.per_ring)
        turn = np.concatenate([(np.arange(n) + 0.5) * (2 * pi / n) for n in self.per_ring])
        sine = np.sin(tilt)
        found: Float = np.stack([np.cos(tilt), sine * np.sin(turn), sine * np.cos(turn)], axis=1)
        return found

    def index(self, z: npt.ArrayLike, y: npt.ArrayLike, x: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the cell of vectors of any length; zero vectors lie in cell 0."""
        vz, vy, vx = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (z, y, x)))
        below = (vz < 0) | ((vz == 0) & ((vy < 0) | ((vy == 0) & (vx < 0))))
        sign = np.where(below, -1.0, 1.0)
        tilt = np.arctan2(np.hypot(vy, vx), np.abs(vz))
        ring = np.minimum((tilt * (self.rings / (pi / 2))).astype(np.intp), self.rings - 1)
        # Adding zero turns -0 into 0, which the angle would tell apart.
        turn = np.arctan2(sign * vy + 0.0, sign * vx + 0.0) % (2 * pi)
        number = self.per_ring[ring]
        place = np.minimum((turn * (number / (2 * pi))).astype(np.intp), number - 1)
        cell: npt.NDArray[np.intp] = self.starts[ring] + place
        return cell


def cell_sums(
    first: Complex, second: Complex, shells: Shells, cells: Cells, part: Part = ALL
) -> Float:
    """Cross power, powers and numbers of coefficients, per shell and cell.

    Parameters
    ----------
    first, second
        (nz, rows, columns) complex64 coefficients.
    shells
        Shells of the whole volume.
    part
        Which rows (y) and columns (x) of the half space the blocks hold.

    Returns
    -------
    (4, shells, cells) float64 over the full space; corners beyond Nyquist are left out.
    """
    nz, ny, nx = shells.shape
    az, ay, ax = shells.voxel_size_angstrom
    ky = np.fft.fftfreq(ny, ay)[part[0], None]
    kx = np.fft.rfftfreq(nx, ax)[part[1]]
    weights = shells.multiplicity[part[1]].astype(np.float64)
    sums = np.zeros((COLUMNS, shells.count * cells.count))
    for z, kz in enumerate(np.fft.fftfreq(nz, az)):
        shell = shells.plane(z, part)
        inside = shell < shells.count
        place = (shell * cells.count + cells.index(kz, ky, kx))[inside]
        spread = np.broadcast_to(weights, shell.shape)[inside]
        a, b = first[z][inside], second[z][inside]
        values = (
            a.real * b.real + a.imag * b.imag,
            a.real**2 + a.imag**2,
            b.real**2 + b.imag**2,
            np.ones(a.shape),
        )
        for total, value in zip(sums, values, strict=True):
            total += np.bincount(place, value * spread, total.size)
    return sums.reshape(COLUMNS, shells.count, cells.count)
