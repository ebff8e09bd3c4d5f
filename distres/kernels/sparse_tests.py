"""Which tests of a sweep the noise is measured for; its strength at the others is interpolated.

A test looks at one octave, so neighbouring tests see nearly the same noise: from one to the next
its strength follows a power of the frequency (1.5 for white noise). It is measured at most
`SPACING_OCTAVES` apart and taken as a power law in between. Where a measurement lies more than
`UNEVEN` off the power law through its neighbours, as near Nyquist or where a filter ends, every
test around it is measured.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log

import numpy as np
import numpy.typing as npt

SPACING_OCTAVES = 0.36
# In log of strength. A parabola that bends by this over two gaps bends by a quarter of it over one,
# and that is what a power law is off in the middle: 2.5 %, a few bins of the histogram.
UNEVEN = 0.1

Places = tuple[int, ...]


def sparse_places(frequencies: Sequence[float]) -> Places:
    """Return the tests to measure first: the two ends, and others at most the spacing apart."""
    places = [0] if frequencies else []
    while places and places[-1] < len(frequencies) - 1:
        start = places[-1]
        reach = frequencies[start] * 2**SPACING_OCTAVES
        near = [i for i in range(start + 1, len(frequencies)) if frequencies[i] <= reach]
        places.append(near[-1] if near else start + 1)
    return tuple(places)


def uneven_places(
    frequencies: Sequence[float], places: Places, strengths: Sequence[float]
) -> Places:
    """Return the tests still to be measured: those that a power law may not describe.

    Parameters
    ----------
    frequencies
        Of all tests, rising.
    places
        The tests measured.
    strengths
        What was measured there, an amplitude.
    """
    gaps = set(range(len(places) - 1))
    if len(places) >= 3 and min(strengths) > 0:
        x = [log(frequencies[place]) for place in places]
        gaps = _uneven_gaps(x, [log(strength) for strength in strengths])
    return tuple(i for gap in sorted(gaps) for i in range(places[gap] + 1, places[gap + 1]))


def _uneven_gaps(x: Sequence[float], y: Sequence[float]) -> set[int]:
    """Return the gaps on both sides of points that lie off the line through their neighbours."""
    gaps: set[int] = set()
    for k in range(1, len(x) - 1):
        straight = y[k - 1] + (y[k + 1] - y[k - 1]) * (x[k] - x[k - 1]) / (x[k + 1] - x[k - 1])
        if abs(y[k] - straight) > UNEVEN:
            gaps |= {k - 1, k}
    return gaps


def fill_between(
    frequencies: Sequence[float], places: Places, measured: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Interpolate strengths, or fields of them, as powers of the frequency.

    Parameters
    ----------
    frequencies
        Of all tests, rising.
    places
        The tests measured: the first, the last and others, rising.
    measured
        (places, ...) amplitudes.

    Returns
    -------
    array
        (tests, ...); what was measured is returned as it is.
    """
    filled = np.empty((len(frequencies), *measured.shape[1:]))
    filled[list(places)] = measured
    for k, (a, b) in enumerate(pairwise(places)):
        for i in range(a + 1, b):
            share = log(frequencies[i] / frequencies[a]) / log(frequencies[b] / frequencies[a])
            filled[i] = measured[k] ** (1 - share) * measured[k + 1] ** share
    return filled
