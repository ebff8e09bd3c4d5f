"""Which voxels beat the noise, with the rate of false discoveries held, from counts alone."""

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from distres.kernels.chisquares import quantile, upper_tail

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Places = npt.NDArray[np.uint16]

BINS = 4096
# The last edge in units of the first: what lies beyond is past any threshold.
_SPAN = 1e4
# Tails are tabulated at every so many edges, 3.7 % apart.
_TABLE_STEP = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TailBins:
    """Logarithmic bins over the upper tail of a statistic.

    A value has place 0 below the uncorrected threshold, and place p from edge p on: places are all
    that a decision needs, exact, and two bytes.

    Parameters
    ----------
    first
        Edge 1: the uncorrected threshold; smaller values are never called.
    """

    first: float

    @classmethod
    def of(cls, weights: Float, rate: float) -> "TailBins":
        """Bins for T = sum of `weights` chi-squares under noise, called at `rate` at most."""
        return cls(first=quantile(rate, weights))

    def edge(self, place: int) -> float:
        """Lowest value of a place; each is 0.2 % above the one before."""
        return float(self.first * _SPAN ** ((place - 1) / (BINS - 1)))

    def place(self, statistic: npt.NDArray[np.float32]) -> Places:
        """Return the place of every value; NaN has place 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(statistic / np.float32(self.first))
        steps = np.nan_to_num(ratio * np.float32((BINS - 1) / log(_SPAN)), nan=-1.0)
        found: Places = np.clip(np.floor(steps) + 1, 0, BINS).astype(np.uint16)
        return found


def count_places(places: Places) -> Integer:
    """Count values per place from 1 on, (4096,)."""
    found: Integer = np.bincount(places, minlength=BINS + 1)[1:].astype(np.int64)
    return found


def benjamini_yekutieli(
    counts: Integer, tested: int, bins: TailBins, weights: Float, rate: float
) -> int | None:
    """Find the threshold that keeps the expected share of false calls at `rate`.

    Parameters
    ----------
    counts
        (4096,) values per place, summed over all tiles.
    tested
        Voxels tested, those of place 0 included.
    bins
        The bins.
    weights
        (16,) null weights of the statistic.
    rate
        Share of false discoveries, under any dependence between voxels.

    Returns
    -------
    The lowest place whose edge T0 has ``P(T > T0) <= rate * #{T >= T0} / (M sum_{i <= M} 1 / i)``;
    values of that place and above are called. None when no value is.

    Notes
    -----
    Benjamini & Yekutieli 2001, Annals of Statistics 29, 1165. Taking edges instead of the values
    themselves can only raise the threshold, by at most the width of a bin.
    """
    above = counts[::-1].cumsum()[::-1]
    if tested == 0 or above[0] == 0:
        return None
    harmonic = log(tested) + float(np.euler_gamma) + 0.5 / tested
    places = np.flatnonzero(counts) + 1
    levels = rate * above[places - 1] / (tested * harmonic)
    # A table tells where to look; what is returned is then checked exactly.
    likely = _log_tails(places, bins, weights, lowest=float(levels.min())) <= np.log(levels) + 0.02
    for place, level in zip(places[likely], levels[likely], strict=True):
        if upper_tail(bins.edge(int(place)), weights) <= level:
            return int(place)
    return None


def _log_tails(
    places: npt.NDArray[np.intp], bins: TailBins, weights: Float, *, lowest: float
) -> Float:
    """Interpolate the logarithm of the upper tail, to 0.1 %, at the edges of places."""
    known, values = [], []
    for place in range(1, BINS + _TABLE_STEP, _TABLE_STEP):
        edge = bins.edge(place)
        known.append(edge)
        values.append(log(max(upper_tail(edge, weights), 1e-300)))
        if values[-1] < log(lowest) - 1:
            break
    edges = np.array([bins.edge(int(place)) for place in places])
    beyond = edges > known[-1]
    found: Float = np.asarray(CubicSpline(known, values)(np.minimum(edges, known[-1])))
    found[beyond] = values[-1]
    return found
