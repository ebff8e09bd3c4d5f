"""The amplitude that noise exceeds with a given probability, from histograms that tiles can merge.

Bins are the leading bits of the float32 number amplitude / scale: `BINS_PER_OCTAVE` equal steps in
every factor of two, so a bin is 0.4 to 0.8 % of its value wide. Counts are integers, so merging in
any order gives the same bits; the quantile read from them lies in the bin of the exact one.
"""

from math import pi

import numpy as np
import numpy.typing as npt
import scipy.special
import torch

from distres.errors import InputError, UsageError
from distres.kernels.sweep import CHANCES

MANTISSA_BITS = 7
BINS_PER_OCTAVE = 1 << MANTISSA_BITS
RELATIVE_BIN_WIDTH = 1.0 / BINS_PER_OCTAVE
LOWEST_EXPONENT, HIGHEST_EXPONENT = -16, 6
BINS = (HIGHEST_EXPONENT - LOWEST_EXPONENT) * BINS_PER_OCTAVE
# With fewer independent values the prediction interval is too wide to be of use.
FEWEST = 4.0
_SHIFT = 23 - MANTISSA_BITS
_FIRST = (127 + LOWEST_EXPONENT) << MANTISSA_BITS

Counts = npt.NDArray[np.int64]


def amplitude_histogram(amplitude: torch.Tensor, scale: float) -> Counts:
    """Count amplitudes.

    Parameters
    ----------
    amplitude
        float32 of any shape, not negative.
    scale
        What 1 means: amplitudes from ``scale * 2**-16`` to ``scale * 2**6`` are resolved, others
        fall into the end bins. The same for everything that is merged.

    Returns
    -------
    array
        (BINS,) int64.

    Raises
    ------
    InputError
        When an amplitude is not a number: a quantile of it would mean nothing.
    """
    values = (amplitude.reshape(-1).to(torch.float32) / scale).contiguous()
    if values.numel() and not bool(torch.isfinite(values.sum())):
        raise InputError("the map holds values that are no finite numbers; replace them first")
    # Adding zero turns -0.0, whose bits are those of a huge integer, into +0.0.
    bits = (values + 0.0).view(torch.int32) >> _SHIFT
    index = (bits - _FIRST).clamp_(0, BINS - 1)
    return torch.bincount(index, minlength=BINS).cpu().numpy().astype(np.int64)


def bin_edges(scale: float) -> npt.NDArray[np.float64]:
    """Return the (BINS + 1,) edges of the bins."""
    octave = np.exp2(np.arange(LOWEST_EXPONENT, HIGHEST_EXPONENT, dtype=np.float64))
    steps = 1.0 + np.arange(BINS_PER_OCTAVE) / BINS_PER_OCTAVE
    inner = (octave[:, None] * steps).ravel()
    return scale * np.append(inner, np.exp2(float(HIGHEST_EXPONENT)))


def histogram_quantile(counts: Counts, probability: float, scale: float) -> float:
    """Return the amplitude below which a share `probability` of the counted values lies.

    Inside its bin the value is interpolated linearly, so the error is below one bin
    (`RELATIVE_BIN_WIDTH`), and about its square where the density is smooth.

    Raises
    ------
    InputError
        When nothing was counted, or the quantile falls outside the range of the bins.
    """
    total = int(counts.sum())
    if total == 0:
        raise InputError(
            "no voxel is left to measure noise on; give half maps, or a mask that leaves solvent"
        )
    rank = min(max(probability, 0.0), 1.0) * total
    cumulative = np.cumsum(counts)
    place = int(np.searchsorted(cumulative, rank))
    if place >= BINS - 1:
        raise InputError(
            f"the noise is more than {2**HIGHEST_EXPONENT} times stronger than its own scale "
            f"{scale:g}; the map is not noise with a finite variance"
        )
    if place == 0:
        return 0.0
    edges = bin_edges(scale)
    share = (rank - cumulative[place - 1]) / counts[place]
    return float(edges[place] + share * (edges[place + 1] - edges[place]))


def single_test_quantile(confidence: float, chances: int = CHANCES) -> float:
    """Return the quantile of the noise that a single test has to use.

    A voxel of noise leaves the sweep after `chances` consecutive failures, so over the whole sweep
    it is assigned a resolution only when it passes one of its first `chances` tests. By the
    inequality of Bonferroni, which holds for any dependence between the tests, the chance is at
    most ``chances * (1 - q)``: q = 1 - (1 - confidence) / chances keeps it within 1 - confidence.
    The same bounds the chance that a voxel goes on beyond its true limit.
    """
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"a confidence of {confidence:g} is not between 0 and 1; 0.95 is usual")
    return 1.0 - (1.0 - confidence) / chances


def sweep_threshold(counts: Counts, scale: float, confidence: float, independent: float) -> float:
    """Return the threshold of one test of a sweep, from the histogram of the noise.

    The quantile is estimated from finitely many values, and must hold for new ones. For n values
    of a normal distribution the limit that a new one exceeds with probability 1 - q lies
    t(q, n - 1) sqrt((n + 1) / (n - 1)) standard deviations above the mean instead of z(q) (the
    upper end of a prediction interval). The difference, 0.04 standard deviations for 100 values, is
    added to the quantile of the histogram, which knows the true shape; the threshold is never below
    that of the normal distribution, since the quantile of a handful of values is too low.

    Parameters
    ----------
    counts, scale
        See `amplitude_histogram`.
    confidence
        1 minus the accepted share of noise voxels with a resolution, in (0, 1).
    independent
        Independent values behind the histogram (`independent_values`).

    Raises
    ------
    InputError
        See `histogram_quantile`.
    """
    single = single_test_quantile(confidence)
    quantile = histogram_quantile(counts, single, scale)
    edges = bin_edges(scale)
    centres = (edges[1:] + edges[:-1]) / 2
    total = float(counts.sum())
    mean = float(counts @ centres) / total
    spread = float(np.sqrt(counts @ (centres - mean) ** 2 / total))
    n = max(independent, FEWEST)
    reach = float(scipy.special.stdtrit(n - 1.0, single)) * ((n + 1.0) / (n - 1.0)) ** 0.5
    more = (reach - float(scipy.special.ndtri(single))) * spread
    return max(quantile + more, mean + reach * spread) if total > 1 else quantile


def independent_values(volume_angstrom3: float, cutoff_per_angstrom: float) -> float:
    """Return how many independent values a field without frequencies above a cutoff has.

    The Fourier sphere of radius `cutoff` holds V 4/3 pi cutoff^3 coefficients per volume V.
    """
    return volume_angstrom3 * 4.0 / 3.0 * pi * cutoff_per_angstrom**3
