"""How many independent coefficients a window and a band hold, and what noise alone would show.

For a windowed average of the product of two independent noises, both filtered by the band B,

    1 / n = sum_x omega(x) rho(x)^2,

rho being the normalised autocorrelation of the filtered noise (the transform of B^2, one at zero)
and omega the autocorrelation of the window (sum one). The local correlation of noise then has
variance 1/n and a local power has relative variance 2/n. The familiar product of window volume and
shell volume is the wide-band limit of it, which counts several times too few coefficients for a
narrow band in a small window.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from distres.kernels.bands import Band

FloatArray = npt.NDArray[np.float64]

# Steps of the sum, per wavelength; the integrand's finest detail is half a wavelength.
_STEPS_PER_WAVELENGTH = 6
# Points at which rho itself is tabulated: linear between them, to 3e-4 of its amplitude.
_TABLE_PER_WAVELENGTH = 128


def independent_coefficients(band: Band, radii: tuple[float, ...]) -> float:
    """Return n for a band seen through raised-cosine windows applied one after the other.

    Parameters
    ----------
    band
        The band.
    radii
        Half widths of the windows (along each axis from one to zero), in the unit of the band's
        wavelength; the windows are products of one raised cosine per axis.
    """
    # Only ratios matter, and most bands of a sweep have the same ones: the sum is made once.
    end = min(band.nyquist * band.wavelength, 2.0**band.half_octaves)
    relative = tuple(round(radius / band.wavelength, 9) for radius in radii)
    return _unit_coefficients(band.half_octaves, round(end, 9), relative)


@lru_cache(maxsize=1024)
def _unit_coefficients(half_octaves: float, end: float, radii: tuple[float, ...]) -> float:
    """Return n for a band of wavelength one that ends at `end`."""
    band = Band(centre=1.0, half_octaves=half_octaves, nyquist=end)
    step = 1 / _STEPS_PER_WAVELENGTH
    omega = _window_autocorrelation(radii, step)
    lag = np.arange(len(omega)) * step
    # One octant of lags; planes at zero lag are shared by two octants, so they count half.
    share = np.where(lag > 0, 2.0, 1.0) * omega
    share /= share.sum()
    square = lag**2
    distance = np.sqrt(square[:, None, None] + square[None, :, None] + square[None, None, :])
    grid = np.linspace(0, distance.max(), ceil(distance.max() * _TABLE_PER_WAVELENGTH))
    rho = np.interp(distance, grid, _noise_autocorrelation(band, grid))
    return float(1 / np.einsum("zyx,z,y,x->", rho**2, share, share, share, optimize=True))


def _noise_autocorrelation(band: Band, distance: FloatArray) -> FloatArray:
    """Return rho of isotropic noise filtered by the band: the 3D transform of B^2."""
    k = np.linspace(band.bottom, band.top, 129)
    weight = band.response(k) ** 2 * k**2
    weight /= weight.sum()
    return np.asarray(np.sinc(2 * np.outer(distance, k)) @ weight)


def _window_autocorrelation(radii: Sequence[float], step: float) -> FloatArray:
    """Return the one-sided autocorrelation along one axis of windows convolved with each other."""
    window = np.ones(1)
    for radius in radii:
        half = max(1, int(np.ceil(radius / step)))
        offset = np.arange(-half, half + 1) * step
        hann = np.where(np.abs(offset) < radius, 1 + np.cos(np.pi * offset / radius), 0.0)
        window = np.convolve(window, hann / hann.sum())
    both = np.correlate(window, window, "full")
    return np.asarray(both[len(window) - 1 :])


def noise_deviation(signal_coefficients: float, noise_coefficients: float) -> float:
    """Return the standard deviation of the local correlation where there is no signal.

    Parameters
    ----------
    signal_coefficients
        n of the window in which the power of the mean map is taken.
    noise_coefficients
        n of the wider window in which the power of the half difference is taken. With one window
        for both the result is 1/sqrt(n).
    """
    return float(np.sqrt((1 / signal_coefficients + 1 / noise_coefficients) / 2))


def face_factor(before: npt.ArrayLike, after: npt.ArrayLike, radius: float) -> FloatArray:
    """Return by how much a face of the volume raises the deviation, for one axis.

    A raised cosine that is cut by the face and normalised again holds fewer coefficients: n goes
    with the square of its sum over its sum of squares.

    Parameters
    ----------
    before, after
        Distances from the window's centre to the faces before and behind it.
    radius
        Of the window.
    """
    b = np.clip(np.asarray(before, np.float64), 0, radius)
    a = np.clip(np.asarray(after, np.float64), 0, radius)
    turn = np.pi / radius

    def both(function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        return np.asarray(function(a) + function(b))

    first = both(lambda u: u / 2 + np.sin(turn * u) / (2 * turn))
    second = both(
        lambda u: 3 * u / 8 + np.sin(turn * u) / (2 * turn) + np.sin(2 * turn * u) / (16 * turn)
    )
    return np.sqrt(second * radius / (0.75 * np.maximum(first, 1e-9 * radius) ** 2))


def significance_level(deviation: npt.ArrayLike, probability: float) -> FloatArray:
    """Return the correlation that noise alone exceeds with `probability` (one-sided)."""
    return np.asarray(-ndtri(probability) * np.asarray(deviation, np.float64))
