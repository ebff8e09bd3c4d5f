"""Which voxels beat the noise, with the rate of false discoveries held, from counts alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.kernels.chisquares import quantile, upper_tail

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]

_BINS = 4096
# The last edge in units of the first: what lies beyond is past any threshold.
_SPAN = 1e4


@dataclass(frozen=True, kw_only=True)
class TailBins:
    """Logarithmic bins over the upper tail of a statistic.

    Parameters
    ----------
    first
        Lower edge of bin 0: the uncorrected threshold; smaller values are never called.
    """

    first: float

    @classmethod
    def of(cls, weights: Float, rate: float) -> "TailBins":
        """Bins for T = sum of `weights` chi-squares under noise, called at `rate` at most."""
        return cls(first=quantile(rate, weights))

    @property
    def edges(self) -> Float:
        """Lower edges of all bins, (4096,); each is 0.2 % above the one before."""
        return np.geomspace(self.first, self.first * _SPAN, _BINS)

    def count(self, statistic: npt.NDArray[np.float32]) -> Integer:
        """Count values per bin, (4096,); the last bin holds all that lies beyond."""
        upper = np.append(self.edges[1:], np.inf)
        # float32 edges, so that a value falls to the same side here and in the decision.
        edges = np.concatenate([[self.first], upper]).astype(np.float32)
        found: Integer = np.histogram(statistic, edges)[0].astype(np.int64)
        return found


def benjamini_yekutieli(
    counts: Integer, tested: int, bins: TailBins, weights: Float, rate: float
) -> float | None:
    """Find the threshold that keeps the expected share of false calls at `rate`.

    Parameters
    ----------
    counts
        (4096,) values per bin, summed over all tiles.
    tested
        Voxels tested, those below the first bin included.
    bins
        The bins.
    weights
        (16,) null weights of the statistic.
    rate
        Share of false discoveries, under any dependence between voxels.

    Returns
    -------
    The lowest bin edge T0 with ``P(T > T0) <= rate * #{T >= T0} / (M sum_{i <= M} 1 / i)``; values
    of at least T0 are called. None when no value is.

    Notes
    -----
    Benjamini & Yekutieli 2001, Annals of Statistics 29, 1165. Taking bin edges instead of the
    values themselves can only raise the threshold, by at most the width of a bin.
    """
    above = counts[::-1].cumsum()[::-1]
    occupied = np.flatnonzero(above)
    if tested == 0 or occupied.size == 0:
        return None
    harmonic = float(np.log(tested) + np.euler_gamma + 0.5 / tested)
    needed = rate * above[occupied] / (tested * harmonic)
    for place, level in zip(occupied, needed, strict=True):
        edge = float(np.float32(bins.edges[place]))
        if upper_tail(edge, weights) <= level:
            return edge
    return None
