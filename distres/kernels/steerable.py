"""How much better a local sinusoid fits than a constant: ResMap's statistic in separable form.

Around every voxel the density is fitted, under a Gaussian weight, by a constant and by sixteen
polynomials that together hold a sinusoid of one wavelength in any direction and phase. Weight and
polynomials are separable, so all inner products are moments along the three axes, and the gain in
fit is a sum of sixteen squares.

Kucukelbir, Sigworth & Tagare 2014, Nature Methods 11, 63; basis after Freeman & Adelson 1991.
Written from the mathematics alone.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil, pi, sqrt

import numpy as np
import numpy.typing as npt
import torch

Float = npt.NDArray[np.float64]
Shape3 = tuple[int, int, int]

# Exponents (z, y, x) of the monomials of degree 3 and less, in the order in which they are made.
MONOMIALS = tuple(e for e in product(range(4), repeat=3) if sum(e) <= 3)

# Linear part of the odd functions t^3 - 2.254 t.
_ODD = 2.254

# Output planes made at a time, a compromise between cache and the size of matrix products.
_PLANES = 4


@dataclass(frozen=True, kw_only=True)
class Sinusoid:
    """Window and basis of one wavelength.

    Parameters
    ----------
    wavelength_angstrom
        L. The window reaches ceil(L / 2) to every side.
    voxel_size_angstrom
        Voxel edges (z, y, x); they may differ.
    kappa
        Weight exp(-kappa |u|^2), u = (2 pi / L) sqrt(2 / 5) position. 1/2 makes the response peak
        at wavelength L; ResMap 1.1 computes with 1.
    """

    wavelength_angstrom: float
    voxel_size_angstrom: tuple[float, float, float]
    kappa: float = 0.5

    @property
    def radius(self) -> Shape3:
        """Voxels from the centre to the window's edge (z, y, x)."""
        z, y, x = (
            ceil(self.wavelength_angstrom / (2 * a) - 1e-9) for a in self.voxel_size_angstrom
        )
        return z, y, x

    def powers(self, axis: int) -> Float:
        """(4, 2 r + 1): weight times u^0, u^1, u^2, u^3 along an axis."""
        u = self._positions(axis)
        weighted: Float = np.exp(-self.kappa * u**2) * u ** np.arange(4)[:, None]
        return weighted

    def _positions(self, axis: int) -> Float:
        scale = 2 * pi / self.wavelength_angstrom * sqrt(2 / 5) * self.voxel_size_angstrom[axis]
        radius = self.radius[axis]
        return np.arange(-radius, radius + 1, dtype=np.float64) * scale

    def moments(self, kappas: float = 1.0) -> Float:
        """(20, 20): inner products of the monomials under the weight to the power `kappas`."""
        sums = []
        for axis in range(3):
            u = self._positions(axis)
            weight = np.exp(-self.kappa * kappas * u**2)
            sums.append(np.array([(weight * u**n).sum() for n in range(7)]))
        exponents = np.array(MONOMIALS)
        total = exponents[:, None] + exponents
        inner: Float = sums[0][total[..., 0]] * sums[1][total[..., 1]] * sums[2][total[..., 2]]
        return inner

    @cached_property
    def functions(self) -> Float:
        """(16, 20): orthonormal functions, orthogonal to the constant, by their monomials."""
        basis = np.concatenate([_constant(), even_functions(0.0), odd_functions()])
        gram = basis @ self.moments() @ basis.T
        inverse = np.linalg.inv(np.linalg.cholesky(gram))
        result: Float = (inverse @ basis)[1:]
        return result

    @cached_property
    def null_weights(self) -> Float:
        """(16,) lambda, falling: on white noise of variance 1, T is a sum of lambda chi^2_1."""
        covariance = self.functions @ self.moments(2.0) @ self.functions.T
        found: Float = np.linalg.eigvalsh(covariance)[::-1].astype(np.float64)
        return found


def _constant() -> Float:
    row = np.zeros((1, len(MONOMIALS)))
    row[0, MONOMIALS.index((0, 0, 0))] = 1
    return row


def even_functions(constant: float) -> Float:
    """(6, 20): z^2, y^2, x^2 less a constant, zy, zx, yx.

    With 1/2 they span the six ``4 t^2 - 2`` along the axes of an icosahedron; next to a constant
    any other number spans the same.
    """
    rows = np.zeros((6, len(MONOMIALS)))
    squares = [e for e in MONOMIALS if sum(e) == 2]
    for row, exponents in zip(rows, sorted(squares, key=max, reverse=True), strict=True):
        row[MONOMIALS.index(exponents)] = 1
    rows[:3, MONOMIALS.index((0, 0, 0))] = -constant
    return rows


def odd_functions() -> Float:
    """(10, 20): p - (2.254 / 6) Laplacian p for every cubic monomial p.

    That is what ``t^3 - 2.254 t`` along any ten directions in general position spans.
    """
    cubic = [e for e in MONOMIALS if sum(e) == 3]
    rows = np.zeros((len(cubic), len(MONOMIALS)))
    for row, exponents in zip(rows, cubic, strict=True):
        row[MONOMIALS.index(exponents)] = 1
        for axis, power in enumerate(exponents):
            if power >= 2:
                lower = list(exponents)
                lower[axis] -= 2
                row[MONOMIALS.index((lower[0], lower[1], lower[2]))] = (
                    -_ODD / 6 * power * (power - 1)
                )
    return rows


def fit_gain(block: torch.Tensor, sinusoid: Sinusoid) -> torch.Tensor:
    """Fall of the weighted residual when the sinusoid is added to the constant, at every voxel.

    Parameters
    ----------
    block
        (z, y, x) float32: the wanted voxels and the window's radius around them.

    Returns
    -------
    (z - 2 rz, y - 2 ry, x - 2 rx) float32; over the noise variance it is the statistic T.

    Notes
    -----
    Costs 34 correlations along one axis, done as products with band matrices, and a 16 x 20
    product per voxel, whatever the wavelength; the direct form costs (2 r + 1)^3 per voxel.
    """
    functions = torch.from_numpy(sinusoid.functions.astype(np.float32)).to(block.device)
    radius = sinusoid.radius
    shape = [n - 2 * r for n, r in zip(block.shape, radius, strict=True)]
    bands = [
        torch.from_numpy(_bands(sinusoid.powers(axis), shape[axis])).to(block.device)
        for axis in (1, 2)
    ]
    taps = torch.from_numpy(sinusoid.powers(0).astype(np.float32)).to(block.device)
    gain = block.new_empty(shape)
    for first in range(0, shape[0], _PLANES):
        last = min(first + _PLANES, shape[0])
        planes = block[first : last + 2 * radius[0]]
        responses = _moments(planes, taps, bands[0], bands[1])
        fitted = functions @ responses.flatten(1)
        gain[first:last] = (fitted * fitted).sum(dim=0).view(last - first, *shape[1:])
    return gain


def _moments(
    planes: torch.Tensor, taps: torch.Tensor, band_y: torch.Tensor, band_x: torch.Tensor
) -> torch.Tensor:
    """Weighted moments about every voxel of a few planes: (20, planes, y, x)."""
    depth = taps.shape[1]
    number = len(planes) - depth + 1
    sections = torch.stack([planes[i : i + depth].flatten(1) for i in range(number)])
    along_z = torch.matmul(taps, sections).view(number, 4, *planes.shape[1:])
    found = []
    for pz in range(4):
        for py in range(4 - pz):
            rows = torch.matmul(band_y[py], along_z[:, pz])
            found += [torch.matmul(rows, band_x[px].T) for px in range(4 - pz - py)]
    return torch.stack(found)


def _bands(powers: Float, count: int) -> npt.NDArray[np.float32]:
    """(4, count, count + 2 r): matrices that correlate an axis with each row of `powers`."""
    matrices = np.zeros((4, count, count + powers.shape[1] - 1), np.float32)
    for row in range(count):
        matrices[:, row, row : row + powers.shape[1]] = powers
    return matrices


def window_gains(windows: torch.Tensor, sinusoid: Sinusoid) -> Float:
    """Gain of the fit in single windows: what `fit_gain` gives at their middles.

    Parameters
    ----------
    windows
        (n, 2 rz + 1, 2 ry + 1, 2 rx + 1) float32.

    Returns
    -------
    (n,) float64. Over the sum of the null weights it estimates the variance of noise as the test
    sees it, whatever the noise's colour.
    """
    fitted = _window_moments(windows, sinusoid) @ sinusoid.functions.T
    gains: Float = (fitted**2).sum(axis=1)
    return gains


def _window_moments(windows: torch.Tensor, sinusoid: Sinusoid) -> Float:
    """Weighted moments of single windows, (n, 20)."""
    exponents = np.array(MONOMIALS)
    axes = [torch.from_numpy(sinusoid.powers(a).astype(np.float32)) for a in range(3)]
    z, y, x = (a.to(windows.device) for a in axes)
    moments = torch.einsum("nzyx,dx->nzyd", windows, x)
    moments = torch.einsum("nzyd,cy->nzcd", moments, y)
    every = torch.einsum("nzcd,bz->nbcd", moments, z).double().cpu().numpy()
    found: Float = every[:, exponents[:, 0], exponents[:, 1], exponents[:, 2]]
    return found


def noise_variances(windows: torch.Tensor, sinusoid: Sinusoid, *, published: bool = False) -> Float:
    """Variance of white noise in windows, sinusoid of this wavelength taken out.

    Parameters
    ----------
    windows
        (n, 2 rz + 1, 2 ry + 1, 2 rx + 1) float32 windows of noise that do not overlap.
    published
        Divide by tr L as ResMap does, which reads low by the mean that was taken out first.

    Returns
    -------
    (n,) float64; each estimates the variance of a voxel.

    Notes
    -----
    ``q' L q / (tr L - 1' L 1 / P)``: q the window less its mean, P its voxels, L the weight less
    its projection on the sixteen functions without the constant.
    """
    responses = _window_moments(windows, sinusoid)
    axes = [torch.from_numpy(sinusoid.powers(a)[0].astype(np.float32)) for a in range(3)]
    z, y, x = (a.to(windows.device) for a in axes)
    squares = torch.einsum("nzyx,z,y,x->n", windows * windows, z, y, x)
    means = windows.mean(dim=(1, 2, 3)).double().cpu().numpy()
    energy = squares.double().cpu().numpy()

    basis = np.concatenate([even_functions(0.5), odd_functions()])
    inner = sinusoid.moments()
    gram = basis @ inner @ basis.T
    ones = inner[MONOMIALS.index((0, 0, 0))]
    total = float(ones[MONOMIALS.index((0, 0, 0))])
    centred = (responses - means[:, None] * ones) @ basis.T
    flat = energy - 2 * means * responses[:, 0] + means**2 * total
    residual = flat - (centred * np.linalg.solve(gram, centred.T).T).sum(axis=1)
    trace = total - float(np.trace(np.linalg.solve(gram, basis @ sinusoid.moments(2.0) @ basis.T)))
    if not published:
        constant = basis @ ones
        sagging = total - float(constant @ np.linalg.solve(gram, constant))
        trace -= sagging / float(np.prod(windows.shape[1:]))
    variances: Float = residual / trace
    return variances
