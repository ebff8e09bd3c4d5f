"""Local Fourier shell correlation of one block: filter first, window second.

For every band both halves are filtered (b1, b2), and

1. the local power of their mean and of their half difference, m^2 and d^2, is taken in a small
   window of `power` wavelengths;
2. the noise power d^2 is averaged once more, in a window of `noise` wavelengths: noise varies more
   slowly in space than signal, and a well-known denominator halves the variance of the ratio;
3. C = (m^2 - d^2) / (m^2 + d^2) is formed in the small window, corrected for its bias of first
   order in 1/n, and only then averaged in a window of `average` wavelengths.

With one window for everything C is the Fourier shell correlation of the window. Two windows in a
row see about as much, but C is bounded by one where power is not: a neighbour that is a hundred
times stronger at this frequency pulls an average of powers wherever the window touches it, and an
average of correlations only by the share of the window that it fills.

All windows are products of raised cosines: they end where they say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.bandfilter import Faces, Float3, HalfBlocks
from distres.kernels.bands import Band
from distres.kernels.interpolate import apply_matrices
from distres.kernels.significance import independent_coefficients, noise_deviation

STRIDE = 2
# Where both halves are constant there is no signal and no noise: this share of power makes C zero.
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Radii of the three windows in wavelengths (where the raised cosine reaches zero).

    Attributes
    ----------
    power
        Window of the local powers.
    average
        Window in which local correlations are averaged; its full width at half maximum is the
        radius, so this is the distance over which the answer can change.
    noise
        Additional window of the noise power.
    least_power_vox
        Smallest radius of the first window, in voxels of the level.
    """

    power: float = 0.5
    average: float = 1.75
    noise: float = 3.0
    least_power_vox: float = 2.5

    def radii(self, band: Band, voxel_size: float) -> tuple[float, float, float]:
        """Return the radii (power, average, noise) for a band, as lengths.

        Parameters
        ----------
        voxel_size
            Largest edge of a voxel of the level on which the band is measured.
        """
        power = max(self.power * band.wavelength, self.least_power_vox * voxel_size)
        grid = 1.01 * STRIDE * voxel_size
        return (
            power,
            max(self.average * band.wavelength, grid),
            max(self.noise * band.wavelength, grid),
        )


def curve_deviation(band: Band, windows: Windows, voxel_size: float) -> float:
    """Return the standard deviation of C of pure noise after all windows, far from faces."""
    power, average, noise = windows.radii(band, voxel_size)
    return noise_deviation(
        independent_coefficients(band, (power, average)),
        independent_coefficients(band, (power, average, noise)),
    )


def correlation_curves(
    half1: torch.Tensor,
    half2: torch.Tensor,
    *,
    spacing: Float3,
    bands: Sequence[Band],
    windows: Windows,
    faces: Faces = ((True, True),) * 3,
) -> torch.Tensor:
    """Return the local correlation of all bands at every second voxel of a block.

    Parameters
    ----------
    half1, half2
        (z, y, x) float32 blocks of the two halves.
    spacing
        Voxel edges (z, y, x) of the level, in the unit of the bands' wavelengths.
    bands
        Bands to measure; all on this level.
    windows
        The windows.
    faces
        For both sides of every axis, whether the volume ends there. It is continued by reflection
        then, and windows count what is inside only. Elsewhere the block just ends: its outer
        voxels are halo, spoiled for `TAPER_VOX` and more.

    Returns
    -------
    (bands, ceil(z / 2), ceil(y / 2), ceil(x / 2)) float32 within [-1, 1], on the voxels with even
    indices.
    """
    nodes = tuple(-(-n // STRIDE) for n in half1.shape)
    curves = half1.new_zeros((len(bands), *nodes))
    halves = HalfBlocks.of(half1, half2, spacing, faces)
    # Where the caller keeps no reference, the blocks' memory is free from here on.
    del half1, half2
    for place, band in enumerate(bands):
        if halves.share(band) > 0:
            curves[place] = _band_correlation(halves, band, windows)
    return curves


def _band_correlation(halves: HalfBlocks, band: Band, windows: Windows) -> torch.Tensor:
    spacing = halves.spacing
    power, average, noise = windows.radii(band, max(spacing))
    m2, d2 = _local_powers(halves, band, power, noise)
    # Shells that a filter has emptied lost their noise with their signal: it is put back.
    signal = m2.sub_(d2)
    c = signal.div(signal.add(d2, alpha=2 / halves.share(band)).clamp_(min=_FLOOR)).clamp_(-1, 1)
    # To first order in 1/n, the chi-square fluctuations of m^2 and d^2 shift the ratio by these.
    n_m = independent_coefficients(band, (power,))
    n_d = independent_coefficients(band, (power, noise))
    down, up = 1 - c, 1 + c
    bias = down * up * (up / (2 * n_m) - down / (2 * n_d))
    c += bias.masked_fill_(c == 0, 0)
    return apply_matrices(c, _node_windows(c, average, spacing)).clamp_(-1, 1)


def _local_powers(
    halves: HalfBlocks, band: Band, power: float, noise: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the local power of the mean and, averaged further, of the half difference."""
    b1, b2 = halves.filtered(band)
    first = _sample_windows(halves, band, power, b1)
    p1, p2 = apply_matrices(b1.square(), first), apply_matrices(b2.square(), first)
    cross = apply_matrices(b1.mul_(b2), first)
    wide = _node_windows(p1, noise, halves.spacing)
    # Halves of unequal strength are brought to one strength, so that only what they do not share
    # is left in the difference.
    scale = apply_matrices(p1, wide).add_(_FLOOR)
    scale = scale.div_(apply_matrices(p2, wide).add_(_FLOOR)).sqrt_()
    both = p1.div_(scale).add_(p2.mul_(scale)).div_(2)
    d2 = apply_matrices((both - cross).div_(2), wide).clamp_(min=0).add_(_FLOOR)
    return both.add_(cross).div_(2).clamp_(min=0).add_(_FLOOR), d2


def _node_windows(nodes: torch.Tensor, radius: float, spacing: Float3) -> list[torch.Tensor]:
    """Return windows over the grid of nodes itself, every node its centre."""
    return [
        _node_window(n, radius / (STRIDE * s), str(nodes.device))
        for n, s in zip(nodes.shape, spacing, strict=True)
    ]


@lru_cache(maxsize=256)
def _node_window(nodes: int, radius: float, device: str) -> torch.Tensor:
    place = np.arange(nodes, dtype=np.float64)
    return _raised_cosines(place, place, radius, device)


def _sample_windows(
    halves: HalfBlocks, band: Band, radius: float, like: torch.Tensor
) -> list[torch.Tensor]:
    """Return windows over the samples of a filtered block, around every second voxel."""
    axes = zip(
        halves.shape, halves.padded, halves.grid(band), halves.before, halves.spacing, strict=True
    )
    return [_sample_window(n, p, g, b, radius / s, str(like.device)) for n, p, g, b, s in axes]


@lru_cache(maxsize=256)
def _sample_window(
    n: int, padded: int, grid: int, before: int, radius_vox: float, device: str
) -> torch.Tensor:
    place = np.arange(grid, dtype=np.float64) * (padded / grid) - before
    # What was made by reflection does not count.
    place[(place <= -0.5) | (place >= n - 0.5)] = np.inf
    # Where samples are sparse the window must still hold one.
    radius = max(radius_vox, 1.01 * padded / grid)
    return _raised_cosines(np.arange(0, n, STRIDE, dtype=np.float64), place, radius, device)


def _raised_cosines(
    centres: npt.NDArray[np.float64], places: npt.NDArray[np.float64], radius: float, device: str
) -> torch.Tensor:
    distance = np.minimum(np.abs(places[None, :] - centres[:, None]), radius)
    weights = 1 + np.cos(np.pi * distance / radius)
    weights /= weights.sum(axis=1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32)).to(device)
