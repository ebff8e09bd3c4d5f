"""The smooth threshold: exact for planes, steady at corners, defined for any size and any gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.errors import InputError
from distres.kernels.threshold_field import cell_centres, fit_threshold_field


def voxels_of(start, shape):
    """Positions along each axis of a region's voxels."""
    return tuple(first + np.arange(n, dtype=float) for first, n in zip(start, shape, strict=True))


def cells_of(shape, cell):
    """Cell centres as three arrays (z, y, x)."""
    centres = [cell_centres(n, c) for n, c in zip(shape, cell, strict=True)]
    return np.meshgrid(*centres, indexing="ij")


def plane(places, slopes, level):
    return level + sum(s * p for s, p in zip(slopes, places, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 190)] * 3),
    cell=st.integers(8, 40),
    slopes=st.tuples(*[st.sampled_from([-0.01, 0.0, 0.02])] * 3),
    gaps=st.integers(0, 3),
)
def test_constant_and_linear_fields_come_back_exactly(shape, cell, slopes, gaps):
    """Also with a few empty cells; an axis with one cell has no slope to come back."""
    edges = (cell,) * 3
    places = cells_of(shape, edges)
    counts = places[0].shape
    slopes = [s if c > 1 else 0.0 for s, c in zip(slopes, counts, strict=True)]
    values = plane(places, slopes, level=20.0)
    weights = np.random.default_rng(gaps).uniform(1, 2, counts)
    # Gaps only where at least three cells are left along every axis, so that slopes are defined.
    if min(counts) >= 4:
        weights.ravel()[np.random.default_rng(1).choice(weights.size, gaps, replace=False)] = 0
    field = fit_threshold_field(values, weights, shape, edges)
    voxels = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    np.testing.assert_allclose(
        field.at(voxels_of((0, 0, 0), shape)), plane(voxels, slopes, level=20.0), rtol=2e-5
    )


@pytest.mark.parametrize("shape", [(300, 300, 60), (200, 200, 200), (512, 96, 40)])
def test_the_error_at_corners_is_not_above_that_of_a_cell(shape):
    """2 % noise on every cell, 60 draws: a corner averages the cells around it."""
    cell = (32, 32, 32)
    counts = cells_of(shape, cell)[0].shape
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        values = 1 + 0.02 * rng.standard_normal(counts)
        field = fit_threshold_field(values, np.ones(counts), shape, cell)
        corner = field.at(voxels_of((0, 0, 0), (1, 1, 1)))
        errors.append(float(corner) - 1)
    assert np.sqrt(np.mean(np.square(errors))) <= 0.02


def test_a_part_of_the_field_is_cut_from_the_whole():
    rng = np.random.default_rng(0)
    shape, cell = (70, 90, 110), (32, 32, 32)
    counts = cells_of(shape, cell)[0].shape
    field = fit_threshold_field(rng.uniform(1, 2, counts), np.ones(counts), shape, cell)
    whole = field.at(voxels_of((0, 0, 0), shape))
    part = field.at(voxels_of((10, 33, 64), (40, 31, 46)))
    np.testing.assert_allclose(part, whole[10:50, 33:64, 64:110], rtol=1e-6)


def test_far_empty_cells_take_the_nearest_known_values():
    counts = (1, 1, 20)
    weights = np.zeros(counts)
    weights[..., 0] = 1
    field = fit_threshold_field(np.full(counts, 3.0), weights, (32, 32, 640), (32, 32, 32))
    np.testing.assert_allclose(field.at(voxels_of((0, 0, 0), (32, 32, 640))), 3.0, rtol=1e-6)


def test_a_threshold_never_becomes_zero_or_negative():
    counts = (1, 1, 3)
    field = fit_threshold_field(
        np.array([[[1.0, 0.5, 1e-3]]]), np.ones(counts), (10, 10, 96), (10, 10, 32)
    )
    assert float(field.at(voxels_of((0, 0, 0), (10, 10, 96))).min()) >= 1e-4 * (1 - 1e-6)


def test_no_cell_at_all_is_refused():
    with pytest.raises(InputError, match="no voxel is left"):
        fit_threshold_field(np.ones((2, 2, 2)), np.zeros((2, 2, 2)), (64, 64, 64), (32, 32, 32))
