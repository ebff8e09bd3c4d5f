"""Percentiles come from integer counts and stay inside the bins that hold them."""

import numpy as np
import pytest

from distres.methods.products import BIN_EDGES_ANGSTROM, Survey


def survey_of(values):
    counts = np.histogram(values, BIN_EDGES_ANGSTROM)[0][None].astype(np.int64)
    return Survey(counts=counts, inside=len(values), flagged=({},))


@pytest.mark.parametrize("percent", [0, 5, 25, 50, 75, 95, 100])
def test_percentiles_agree_with_the_values_to_one_bin(percent):
    values = np.random.default_rng(1).gamma(4, 2, 20_001) + 2
    found = survey_of(values).percentile(0, percent)
    # A bin is half a percent wide; the order statistic may lie anywhere in it.
    assert found == pytest.approx(np.percentile(values, percent), rel=0.006)


def test_many_equal_values_do_not_pull_percentiles_below_themselves():
    values = np.concatenate([np.full(900, 2.0), np.full(100, 8.0)])
    found = survey_of(values)
    assert found.percentile(0, 1) == pytest.approx(2.0, rel=0.006)
    assert found.percentile(0, 50) == pytest.approx(2.0, rel=0.006)
    assert found.percentile(0, 95) == pytest.approx(8.0, rel=0.006)


def test_nothing_resolved_has_no_percentile():
    assert np.isnan(survey_of(np.array([])).percentile(0, 50))
