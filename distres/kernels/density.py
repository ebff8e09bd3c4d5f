"""The density of atoms on a grid, right up to Nyquist, without one exponential per atom and voxel.

An atom of element e and B-factor B scatters ``f(k) = sum_i a_i exp(-(b_i + B) k^2 / 4)``. The
curves of all atoms of a structure are nearly linear combinations of a handful of curves (found by
a singular value decomposition), so the density's transform is

    F(k) = sum_r u_r(k) sum_atoms v_r(atom) exp(-2 pi i k r_atom),

and each inner sum is a non-uniform FFT: atoms are spread on a grid 1.25 times finer with a short
kernel, transformed, cropped to the band of the wanted grid, and divided by the kernel's transform
(Barnett, Magland, af Klinteberg 2019, SIAM J. Sci. Comput. 41, C479: the kernel and its width).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from distres.errors import UsageError

Shape3 = tuple[int, int, int]
Float3 = tuple[float, float, float]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

_OVERSAMPLING = 1.25
_WIDTH = 6  # grid points of the spreading kernel; with 1.25 its error is about 2e-4
_BETA = 0.976 * np.pi * _WIDTH * (1 - 1 / (2 * _OVERSAMPLING))
_CURVE_POINTS = 1024
_CURVE_ERROR = 1e-4
_ATOMS_AT_ONCE = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatterers:
    """Atoms, as far as their density needs them.

    Attributes
    ----------
    positions_angstrom
        (n, 3) float64 z, y, x.
    kinds
        (n,) rows of `form_factors`.
    form_factors
        (kinds, 2, gaussians) float64: amplitudes a and widths b (square angstrom).
    b_factors
        (n,) float64 in square angstrom.
    occupancies
        (n,) float64.
    """

    positions_angstrom: DoubleArray
    kinds: npt.NDArray[np.intp]
    form_factors: DoubleArray
    b_factors: DoubleArray
    occupancies: DoubleArray

    def __len__(self) -> int:
        return len(self.kinds)

    def select(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Scatterers":
        """Return some of the atoms."""
        return Scatterers(
            positions_angstrom=self.positions_angstrom[which],
            kinds=self.kinds[which],
            form_factors=self.form_factors,
            b_factors=self.b_factors[which],
            occupancies=self.occupancies[which],
        )

    def moved(self, rotation: DoubleArray, shift_angstrom: DoubleArray) -> "Scatterers":
        """Return the atoms rotated about the origin, then shifted (both in z, y, x)."""
        return Scatterers(
            positions_angstrom=self.positions_angstrom @ rotation.T + shift_angstrom,
            kinds=self.kinds,
            form_factors=self.form_factors,
            b_factors=self.b_factors,
            occupancies=self.occupancies,
        )


def density_map(
    atoms: Scatterers,
    shape: Shape3,
    voxel_size_angstrom: float,
    transfer: Callable[[DoubleArray], DoubleArray] | None = None,
) -> FloatArray:
    """Compute the density of atoms on a grid, band-limited to the grid's Nyquist frequencies.

    Parameters
    ----------
    atoms
        Positions count from the centre of voxel (0, 0, 0); the box is periodic.
    shape
        Voxels (z, y, x).
    voxel_size_angstrom
        Edge of a voxel.
    transfer
        Function of the frequency in 1/angstrom that multiplies the spectrum (a low-pass).

    Returns
    -------
    (z, y, x) float32
        Density at the voxel centres per cubic angstrom.

    Raises
    ------
    UsageError
        There are no atoms, or a B-factor makes an atom narrower than a point.
    """
    if len(atoms) == 0:
        raise UsageError("a density needs at least one atom, and none is left")
    highest = 0.5 / voxel_size_angstrom * 3**0.5
    frequency = np.linspace(0, highest, _CURVE_POINTS)
    curves, shares = _basis(atoms, frequency)
    if transfer is not None:
        curves = curves * transfer(frequency)
    fine = _fine_shape(shape)
    total = np.zeros((shape[0], shape[1], shape[2] // 2 + 1), np.complex64)
    scale = voxel_size_angstrom * np.array(shape) / fine
    points = atoms.positions_angstrom / scale
    correction = [_correction(n, m) for n, m in zip(shape, fine, strict=True)]
    for curve, share in zip(curves, shares.T, strict=True):
        spectrum = _cropped_spectrum(_spread(points, share, fine), shape)
        _add_filtered(total, spectrum, curve, correction, shape, voxel_size_angstrom)
    total /= np.float32(voxel_size_angstrom**3)
    return np.asarray(fft.irfftn(total, shape, overwrite_x=True), np.float32)


def _basis(atoms: Scatterers, frequency: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Find few curves whose combinations are all atoms' form factors.

    Returns
    -------
    curves
        (ranks, frequencies).
    shares
        (atoms, ranks), occupancy included.
    """
    # A tenth of a square angstrom changes no amplitude by more than 0.3 % at 1/(2 A).
    classes = np.stack([atoms.kinds, np.rint(atoms.b_factors * 10)], axis=1).astype(np.int64)
    unique, which, counts = np.unique(classes, axis=0, return_inverse=True, return_counts=True)
    table = form_factor_curves(atoms.form_factors[unique[:, 0]], unique[:, 1] / 10, frequency)
    weights = np.sqrt(counts)[:, None]
    left, size, curves = np.linalg.svd(table * weights, full_matrices=False)
    lost = np.sqrt(np.cumsum(size[::-1] ** 2)[::-1] / np.sum(size**2))
    ranks = max(1, int(np.sum(lost > _CURVE_ERROR)))
    shares = (left[:, :ranks] * size[:ranks] / weights)[which.ravel()]
    return curves[:ranks], shares * atoms.occupancies[:, None]


def form_factor_curves(
    form_factors: DoubleArray, b_factors: DoubleArray, frequency_per_angstrom: DoubleArray
) -> DoubleArray:
    """Return f(k) of atoms.

    Parameters
    ----------
    form_factors
        (n, 2, gaussians) amplitudes and widths.
    b_factors
        (n,) B in square angstrom.
    frequency_per_angstrom
        (m,) k.

    Returns
    -------
    (n, m) float64

    Raises
    ------
    UsageError
        A B-factor is so negative that an atom would have no width.
    """
    widths = form_factors[:, 1] + b_factors[:, None]
    if widths.min() < 0:
        raise UsageError(
            f"a B-factor of {b_factors.min():g} square angstrom sharpens an atom beyond a point; "
            "use B-factors of 0 or more"
        )
    decay = np.exp(-widths[:, :, None] * np.square(frequency_per_angstrom) / 4)
    return np.asarray(np.einsum("ng,ngm->nm", form_factors[:, 0], decay))


def _fine_shape(shape: Shape3) -> npt.NDArray[np.intp]:
    least = (max(int(np.ceil(_OVERSAMPLING * n)), 2 * _WIDTH) for n in shape)
    return np.array([fft.next_fast_len(n + n % 2, real=True) for n in least], np.intp)


def _kernel(distance: DoubleArray) -> DoubleArray:
    """Return the spreading kernel at distances in fine grid points."""
    inside = np.maximum(1 - np.square(2 * distance / _WIDTH), 0)
    return np.asarray(np.exp(_BETA * (np.sqrt(inside) - 1)))


def _correction(n: int, fine: int) -> FloatArray:
    """Return one over the kernel's transform at the frequencies of the wanted grid (FFT order)."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    nodes, weights = nodes * _WIDTH / 2, weights * _WIDTH / 2
    frequency = np.fft.fftfreq(n) * n / fine
    transform = np.cos(2 * np.pi * frequency[:, None] * nodes) @ (weights * _kernel(nodes))
    correction: DoubleArray = 1 / transform
    if n % 2 == 0:
        # The Nyquist coefficient of an even axis has no partner: it cannot carry a position.
        correction[n // 2] = 0
    return np.asarray(correction, np.float32)


def _spread(points: DoubleArray, strengths: DoubleArray, fine: npt.NDArray[np.intp]) -> FloatArray:
    """Spread atoms over the nearest `_WIDTH` points per axis of the periodic fine grid."""
    grid = np.zeros(int(np.prod(fine)), np.float32)
    offsets = np.arange(_WIDTH)
    for start in range(0, len(points), _ATOMS_AT_ONCE):
        part = points[start : start + _ATOMS_AT_ONCE]
        first = np.ceil(part - _WIDTH / 2).astype(np.intp)
        index = first[:, :, None] + offsets
        weight = _kernel(index - part[:, :, None])
        index %= fine[:, None]
        weight[:, 0] *= strengths[start : start + _ATOMS_AT_ONCE, None]
        plane = index[:, 0, :, None] * fine[1] + index[:, 1, None, :]
        flat = plane[..., None] * fine[2] + index[:, 2, None, None, :]
        values = np.einsum("ni,nj,nk->nijk", *np.moveaxis(weight, 1, 0))
        np.add.at(grid, flat.ravel(), values.astype(np.float32).ravel())
    return grid.reshape(tuple(fine))


def _cropped_spectrum(grid: FloatArray, shape: Shape3) -> npt.NDArray[np.complex64]:
    """Transform axis by axis and drop what the wanted grid cannot hold at once."""
    spectrum = np.ascontiguousarray(fft.rfft(grid, axis=2)[:, :, : shape[2] // 2 + 1])
    for axis in (1, 0):
        spectrum = fft.fft(spectrum, axis=axis, overwrite_x=True)
        n, fine = shape[axis], spectrum.shape[axis]
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(0, n - n // 2), slice(fine - n // 2, fine)
        spectrum = np.concatenate([spectrum[tuple(low)], spectrum[tuple(high)]], axis=axis)
    return np.asarray(spectrum, np.complex64)


def _add_filtered(
    total: npt.NDArray[np.complex64],
    spectrum: npt.NDArray[np.complex64],
    curve: DoubleArray,
    correction: list[FloatArray],
    shape: Shape3,
    voxel_size_angstrom: float,
) -> None:
    """Add ``spectrum * curve(k) / kernel transform`` to the total, plane by plane."""
    step = 0.5 / voxel_size_angstrom * 3**0.5 / (_CURVE_POINTS - 1)
    z, y, x = (np.fft.fftfreq(n, voxel_size_angstrom) / step for n in shape)
    x = np.abs(x[: shape[2] // 2 + 1])
    square = np.square(y)[:, None] + np.square(x)
    plane_correction = correction[1][:, None] * correction[2][: len(x)]
    places = np.arange(_CURVE_POINTS)
    for i, kz in enumerate(z):
        factor = np.interp(np.sqrt(square + kz**2), places, curve).astype(np.float32)
        factor *= plane_correction
        factor *= correction[0][i]
        total[i] += spectrum[i] * factor
