"""Frequency bands of constant relative width, and what a falling signal does inside one of them.

A band is a squared raised cosine of ``log2(k / centre)``. Constant relative width makes everything
scale with the wavelength: the band filter's reach in space, the windows, the number of independent
coefficients in them, and how much a signal falls inside a band. So one octave of bands is measured
on each level of a pyramid and costs the same number of voxels around a tile everywhere.

Width is a compromise. A narrow band reaches far in space and carries the power of a sharp region
into a blurred one, where it can be a hundred times stronger; a wide one averages over a spectrum
that falls steeply. The second error can be computed, so the bands are wide: what a Wilson decay
``exp(-beta k^2)`` does inside a band is tabulated here and taken out by the fit of the crossing.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

BANDS_PER_OCTAVE = 4
HALF_OCTAVES = 0.85
# Levels are right up to 0.4 cycles per coarse voxel (distres.kernels.resample).
LEVEL_PASS = 0.4
# Steepness beta * <k^2> up to which a decay inside a band is tabulated: FSC 0.143 of a Wilson decay
# with a signal-to-noise ratio of exp(8) at zero frequency has 10.
STEEPEST = 120.0
TABLE_STEPS = 480


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band-pass filter.

    Attributes
    ----------
    centre
        Frequency of its peak, in 1/length.
    half_octaves
        Distance from the peak to zero, in octaves.
    nyquist
        Frequency above which nothing passes, in 1/length.
    level
        Pyramid level on which the band is measured.
    """

    centre: float
    half_octaves: float
    nyquist: float
    level: int = 0

    @property
    def bottom(self) -> float:
        """Frequency below which nothing passes."""
        return self.centre / float(2.0**self.half_octaves)

    @property
    def top(self) -> float:
        """Frequency above which nothing passes."""
        return float(min(self.centre * 2.0**self.half_octaves, self.nyquist))

    @property
    def wavelength(self) -> float:
        """Length of one period at the centre."""
        return 1 / self.centre

    def response(self, frequency: npt.ArrayLike) -> FloatArray:
        """Return the amplitude that passes at `frequency`, 1 at the centre."""
        k = np.asarray(frequency, np.float64)
        octaves = np.log2(np.maximum(k, 1e-12) / self.centre) / self.half_octaves
        inside = (np.abs(octaves) < 1) & (k <= self.nyquist)
        return np.where(inside, np.cos(np.pi / 2 * np.clip(octaves, -1, 1)) ** 2, 0.0)


def plan_bands(
    *,
    voxel_size: float,
    lowest: float,
    highest: float | None = None,
    levels: int = 1,
    bands_per_octave: int = BANDS_PER_OCTAVE,
    half_octaves: float = HALF_OCTAVES,
) -> tuple[Band, ...]:
    """Choose bands from low to high frequency, each on the coarsest level that holds it.

    Centres are the middles of equal steps in log frequency counted down from Nyquist, so that the
    bands of one volume are a subset of those of a larger one.

    Parameters
    ----------
    voxel_size
        Largest edge of a voxel: where the sampling ends first.
    lowest
        Frequency that the lowest centre should reach, in 1/length.
    highest
        Frequency that the highest centre should reach; None goes to Nyquist. One more band beyond
        it is planned, so that a curve can be seen to stay below a threshold.
    levels
        Pyramid levels at hand; level l has voxels 2^l times larger.
    """
    nyquist = 0.5 / voxel_size
    count = max(1, ceil(bands_per_octave * log2(nyquist / lowest) - 0.5) + 1)
    skip = 0
    if highest is not None and highest < nyquist:
        skip = max(0, int(bands_per_octave * log2(nyquist / highest) - 0.5) - 1)
    bands = []
    for step in range(max(count, skip + 1) - 1, skip - 1, -1):
        band = Band(
            centre=nyquist * 2.0 ** (-(step + 0.5) / bands_per_octave),
            half_octaves=half_octaves,
            nyquist=nyquist,
        )
        bands.append(_on_level(band, voxel_size, levels))
    return tuple(bands)


def _on_level(band: Band, voxel_size: float, levels: int) -> Band:
    level = 0
    while level + 1 < levels and band.top * voxel_size * 2 ** (level + 1) <= LEVEL_PASS:
        level += 1
    return Band(
        centre=band.centre, half_octaves=band.half_octaves, nyquist=band.nyquist, level=level
    )


def _power_weights(band: Band) -> tuple[FloatArray, FloatArray]:
    """Return squared frequencies across the band and the share of white noise each passes."""
    k = np.linspace(band.bottom, band.top, 513)
    weight = band.response(k) ** 2 * k**2
    return k**2, weight / weight.sum()


@lru_cache(maxsize=256)
def mean_square(band: Band) -> float:
    """Return the mean squared frequency <k^2> of white noise that passes the band."""
    square, weight = _power_weights(band)
    return float((weight * square).sum())


@lru_cache(maxsize=256)
def effective_squares(band: Band) -> tuple[float, ...]:
    """Tabulate where a Wilson decay equals its own average over the band.

    Inside the band, ``exp(-beta k^2)`` averages to ``exp(-beta v)`` with an effective squared
    frequency v below <k^2>: the stronger low side wins. The table holds ``v / <k^2>`` for
    ``beta <k^2>`` from 0 to `STEEPEST` in `TABLE_STEPS` equal steps.
    """
    square, weight = _power_weights(band)
    mean = float((weight * square).sum())
    table = [1.0]
    for step in range(1, TABLE_STEPS + 1):
        beta = step * STEEPEST / TABLE_STEPS / mean
        average = (weight * np.exp(-beta * (square - mean))).sum()
        table.append(1 - float(np.log(average)) / (beta * mean))
    return tuple(table)
