"""Which tests are measured, and what is put between them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.sparse_tests import (
    SPACING_OCTAVES,
    UNEVEN,
    fill_between,
    sparse_places,
    uneven_places,
)

rising = st.lists(st.floats(0.01, 0.5), min_size=1, max_size=40, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(rising)
def test_the_ends_are_measured_and_no_gap_between_tests_is_wider_than_the_spacing(frequencies):
    places = sparse_places(frequencies)
    assert places[0] == 0
    assert places[-1] == len(frequencies) - 1
    for a, b in pairwise(places):
        assert b == a + 1 or frequencies[b] <= frequencies[a] * 2**SPACING_OCTAVES


@settings(max_examples=60, deadline=None)
@given(rising, st.floats(-1.0, 3.0))
def test_a_power_law_comes_back_exactly(frequencies, power):
    truth = np.array(frequencies) ** power
    places = sparse_places(frequencies)
    found = fill_between(frequencies, places, truth[list(places)])
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_fields_are_interpolated_voxel_by_voxel():
    frequencies = [0.1, 0.11, 0.121]
    ends = np.array([[[1.0, 4.0]], [[4.0, 1.0]]])
    found = fill_between(frequencies, (0, 2), ends)
    np.testing.assert_allclose(found[1], [[2.0, 2.0]])
    np.testing.assert_array_equal(found[[0, 2]], ends)


@pytest.mark.parametrize("power", [1.5, 0.4, -1.0])
def test_noise_of_a_power_law_needs_no_more_tests(power):
    frequencies = np.geomspace(0.1, 0.2, 12).tolist()
    places = sparse_places(frequencies)
    assert len(places) <= len(frequencies) / 2
    assert uneven_places(frequencies, places, [frequencies[i] ** power for i in places]) == ()


def test_where_a_filter_ends_every_test_is_measured():
    frequencies = np.geomspace(0.1, 0.3, 20).tolist()
    places = sparse_places(frequencies)
    strengths = [f**1.5 * (1.0 if f < 0.25 else 0.5) for f in (frequencies[i] for i in places)]
    missing = uneven_places(frequencies, places, strengths)
    fall = next(i for i, f in enumerate(frequencies) if f >= 0.25)
    assert {fall - 1, fall} <= {*missing, *places}
    assert len(missing) < len(frequencies) - len(places)
    silent = [*strengths[:-1], 0.0]
    assert len({*uneven_places(frequencies, places, silent), *places}) == len(frequencies)


def test_noise_that_bends_less_is_met_within_a_fortieth():
    """A parabola in log-log that bends by `UNEVEN` over two gaps: a quarter of it over one."""
    frequencies = np.geomspace(0.1, 0.1 * 2 ** (2 * SPACING_OCTAVES), 9)
    x = np.linspace(-1, 1, 9)
    truth = frequencies**1.5 * np.exp(0.999 * UNEVEN * x**2)
    assert uneven_places(list(frequencies), (0, 4, 8), truth[[0, 4, 8]].tolist()) == ()
    found = fill_between(list(frequencies), (0, 4, 8), truth[[0, 4, 8]])
    assert np.abs(found / truth - 1).max() == pytest.approx(UNEVEN / 4, rel=0.1)
