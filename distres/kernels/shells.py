"""Shells of physical frequency in the half space of a real Fourier transform, and their sums.

Arrays are (z, y, x); a half-space array has x from 0 to nx // 2, as `rfftn` leaves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Complex = npt.NDArray[np.complex64]
Part = tuple[slice, slice]  # rows (y) and columns (x) of the half space
ALL: Part = (slice(None), slice(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shells:
    """Shells ``|s| = i * width`` of one grid, i = nearest integer.

    Shell centres reach to the Nyquist frequency of the coarsest axis; what lies beyond is gathered
    in one more bin, index `count`, so that all bins together hold every coefficient.

    Parameters
    ----------
    shape
        Voxels (z, y, x) of the real-space volume.
    voxel_size_angstrom
        Voxel edges (z, y, x); they may differ.
    """

    shape: tuple[int, int, int]
    voxel_size_angstrom: tuple[float, float, float]

    @property
    def width_per_angstrom(self) -> float:
        """Distance between shells: 1 / (longest box edge), the finest any axis resolves."""
        edges = (n * a for n, a in zip(self.shape, self.voxel_size_angstrom, strict=True))
        return 1.0 / max(edges)

    @property
    def nyquist_per_angstrom(self) -> float:
        """Nyquist frequency of the coarsest axis."""
        return 0.5 / max(self.voxel_size_angstrom)

    @property
    def count(self) -> int:
        """Shells whose centre lies at or below Nyquist, the one at 0 included."""
        # The small term keeps the shell at Nyquist when the division rounds down.
        return floor(self.nyquist_per_angstrom / self.width_per_angstrom + 1e-9) + 1

    @property
    def frequency_per_angstrom(self) -> Float:
        """Centres of the shells, (count,)."""
        return np.arange(self.count, dtype=np.float64) * self.width_per_angstrom

    @property
    def half_shape(self) -> tuple[int, int, int]:
        """Shape of the half-space arrays."""
        z, y, x = self.shape
        return z, y, x // 2 + 1

    @property
    def multiplicity(self) -> npt.NDArray[np.float32]:
        """How many coefficients of the full space each x of the half space stands for."""
        nx = self.shape[2]
        weights = np.full(nx // 2 + 1, 2, np.float32)
        weights[0] = 1
        if nx % 2 == 0:
            weights[-1] = 1
        return weights

    def plane(self, z: int, part: Part = ALL) -> npt.NDArray[np.intp]:
        """Shell of every coefficient in plane `z` that lies in the rows and columns of `part`."""
        rows, columns = part
        nz, ny, nx = self.shape
        az, ay, ax = self.voxel_size_angstrom
        kz = np.fft.fftfreq(nz, az)[z]
        ky = np.fft.fftfreq(ny, ay)[rows, None]
        kx = np.fft.rfftfreq(nx, ax)[columns]
        radius: Float = np.sqrt(kz * kz + (ky * ky + kx * kx))
        index: npt.NDArray[np.intp] = np.rint(radius / self.width_per_angstrom).astype(np.intp)
        return np.minimum(index, self.count, out=index)

    def coefficients(self) -> Integer:
        """Coefficients of the full space per shell, (count + 1,) with the corner bin last.

        They are also the real degrees of freedom of the shell: of ``n`` coefficients, ``n / 2`` are
        independent complex numbers, so the correlation of white noise has a variance of ``1 / n``.
        """
        weights = self.multiplicity
        total = np.zeros(self.count + 1)
        for z in range(self.shape[0]):
            index = self.plane(z)
            spread = np.broadcast_to(weights, index.shape).ravel()
            total += np.bincount(index.ravel(), spread, self.count + 1)
        return total.astype(np.int64)


def shell_sums(first: Complex, second: Complex, shells: Shells, part: Part = ALL) -> Float:
    """Cross power and powers of two transforms, per shell.

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
    (3, count + 1) float64: sums of ``Re(F1 conj(F2))``, ``|F1|^2``, ``|F2|^2`` over the full space,
    the corner bin last.
    """
    sums = np.zeros((3, shells.count + 1))
    weights = shells.multiplicity[part[1]]
    for z in range(shells.shape[0]):
        index = shells.plane(z, part).ravel()
        products = (_dot(first[z], second[z]), _dot(first[z], first[z]), _dot(second[z], second[z]))
        for total, product in zip(sums, products, strict=True):
            total += np.bincount(index, (product * weights).ravel(), shells.count + 1)
    return sums


def _dot(first: Complex, second: Complex) -> npt.NDArray[np.float32]:
    product: npt.NDArray[np.float32] = first.real * second.real + first.imag * second.imag
    return product


def fsc_of_sums(sums: npt.ArrayLike) -> Float:
    """Fourier shell correlation from `shell_sums` of one or of many passes.

    Parameters
    ----------
    sums
        (..., 3, count + 1).

    Returns
    -------
    (..., count): 1 by definition in shell 0, which holds only the mean, and 0 where a shell is
    empty of power.

    Notes
    -----
    ``C(s) = sum Re(F1 conj(F2)) / sqrt(sum |F1|^2 sum |F2|^2)``, Harauz & van Heel 1986.
    """
    cross, power1, power2 = np.moveaxis(np.asarray(sums, np.float64)[..., :-1], -2, 0)
    norm = np.sqrt(power1) * np.sqrt(power2)
    curve: Float = np.divide(cross, norm, out=np.zeros_like(cross), where=norm > 0)
    curve[..., 0] = 1.0
    return curve


def shells_of(shape: Sequence[int], voxel_size_angstrom: Sequence[float]) -> Shells:
    """Make shells from sequences, for instance from JSON lists."""
    nz, ny, nx = shape
    az, ay, ax = voxel_size_angstrom
    return Shells(shape=(nz, ny, nx), voxel_size_angstrom=(az, ay, ax))
