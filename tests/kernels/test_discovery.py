import numpy as np
import pytest

from distres.kernels.chisquares import upper_tail
from distres.kernels.discovery import TailBins, benjamini_yekutieli, count_places

WEIGHTS = np.geomspace(1.0, 0.2, 16)
RATE = 0.05


def sample(signals, noises, seed):
    rng = np.random.default_rng(seed)
    noise = (rng.standard_normal((noises, 16)) ** 2) @ WEIGHTS
    return np.concatenate([rng.uniform(20, 400, signals), noise]).astype(np.float32)


def called(values):
    bins = TailBins.of(WEIGHTS, RATE)
    places = bins.place(values)
    place = benjamini_yekutieli(count_places(places), len(values), bins, WEIGHTS, RATE)
    return np.zeros(len(values), bool) if place is None else places >= place


def called_by_the_textbook(values):
    """Sort the p-values and step up."""
    p = np.array([upper_tail(float(v), WEIGHTS) for v in values])
    order = np.argsort(p)
    count = len(p)
    harmonic = (1 / np.arange(1, count + 1)).sum()
    passing = np.flatnonzero(p[order] <= RATE * np.arange(1, count + 1) / (count * harmonic))
    return values >= values[order[passing[-1]]] if passing.size else np.zeros(count, bool)


@pytest.mark.parametrize("signals", [3, 50, 400])
def test_bins_call_what_the_textbook_calls_but_for_one_bin(signals):
    values = sample(signals, 1000, signals)
    ours, theirs = called(values), called_by_the_textbook(values)
    # The threshold may only be higher, and by less than a bin (0.23 %).
    assert not (ours & ~theirs).any()
    assert (theirs & ~ours).sum() <= (np.abs(values / values[theirs].min() - 1) < 0.0023).sum()


def test_pure_noise_is_not_called():
    assert not called(sample(0, 20000, 9)).any()


def test_counts_of_parts_add_up():
    places = TailBins.of(WEIGHTS, RATE).place(sample(100, 5000, 1))
    parts = sum(count_places(part) for part in np.array_split(places, 7))
    np.testing.assert_array_equal(parts, count_places(places))
    assert parts.sum() == (places > 0).sum()


def test_a_place_begins_at_its_edge():
    bins = TailBins.of(WEIGHTS, RATE)
    for place in (1, 2, 100, 4000):
        # float32 knows an edge to 6e-8, a bin is 2.2e-3 wide.
        edge = bins.edge(place)
        assert bins.place(np.float32([edge * (1 + 1e-5), edge * (1 - 1e-5)])).tolist() == [
            place,
            place - 1,
        ]
    assert bins.place(np.float32([0, -1, np.nan, np.inf, 1e30])).tolist() == [0, 0, 0, 4096, 4096]


def test_nothing_tested_calls_nothing():
    bins = TailBins.of(WEIGHTS, RATE)
    counts = count_places(bins.place(np.empty(0, np.float32)))
    assert benjamini_yekutieli(counts, 0, bins, WEIGHTS, RATE) is None
