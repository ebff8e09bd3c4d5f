import numpy as np
import pytest

from distres.kernels.chisquares import upper_tail
from distres.kernels.discovery import TailBins, benjamini_yekutieli

WEIGHTS = np.geomspace(1.0, 0.2, 16)
RATE = 0.05


def sample(signals, noises, seed):
    rng = np.random.default_rng(seed)
    noise = (rng.standard_normal((noises, 16)) ** 2) @ WEIGHTS
    return np.concatenate([rng.uniform(20, 400, signals), noise]).astype(np.float32)


def textbook_threshold(values):
    """Sort the p-values and step up."""
    p = np.array([upper_tail(float(v), WEIGHTS) for v in values])
    order = np.argsort(p)
    count = len(p)
    harmonic = (1 / np.arange(1, count + 1)).sum()
    passing = np.flatnonzero(p[order] <= RATE * np.arange(1, count + 1) / (count * harmonic))
    return values[order[passing[-1]]] if passing.size else None


@pytest.mark.parametrize("signals", [3, 50, 400])
def test_bins_give_the_textbook_threshold_within_a_bin(signals):
    values = sample(signals, 1000, signals)
    bins = TailBins.of(WEIGHTS, RATE)
    found = benjamini_yekutieli(bins.count(values), len(values), bins, WEIGHTS, RATE)
    expected = textbook_threshold(values)
    # Never fewer false calls than asked for: the threshold may only be higher than the lowest
    # value that passes, by less than one bin (0.23 %), or lie in the gap below it.
    assert found <= expected * 1.0024
    assert (values >= found).sum() >= (values >= expected * 1.0024).sum()
    assert (values >= found).sum() <= (values >= expected).sum()


def test_pure_noise_is_not_called():
    values = sample(0, 20000, 9)
    bins = TailBins.of(WEIGHTS, RATE)
    limit = benjamini_yekutieli(bins.count(values), len(values), bins, WEIGHTS, RATE)
    assert limit is None


def test_counts_of_parts_add_up():
    values = sample(100, 5000, 1)
    bins = TailBins.of(WEIGHTS, RATE)
    parts = sum(bins.count(part) for part in np.array_split(values, 7))
    np.testing.assert_array_equal(parts, bins.count(values))
    assert parts.sum() == (values >= np.float32(bins.first)).sum()


def test_nothing_tested_calls_nothing():
    bins = TailBins.of(WEIGHTS, RATE)
    counts = bins.count(np.empty(0, np.float32))
    assert benjamini_yekutieli(counts, 0, bins, WEIGHTS, RATE) is None
