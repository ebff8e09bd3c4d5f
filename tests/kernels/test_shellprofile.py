"""Shell means, fitted slopes and z-scores against what was put in."""

import numpy as np
import pytest

from distres.kernels.shellprofile import (
    fit_line,
    inner_shells,
    means_and_deviations,
    shell_of,
    shell_sums,
    z_score,
)

SHAPE = (40, 36, 44)
VOXEL = (1.5, 1.2, 1.2)
CENTRE = (30.0, 21.6, 26.4)


def radius():
    axes = [np.arange(n) * d - c for n, d, c in zip(SHAPE, VOXEL, CENTRE, strict=True)]
    return np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)


def test_shells_are_counted_from_the_centre_in_angstrom():
    shell = shell_of((0, 0, 0), SHAPE, VOXEL, CENTRE, 1.5)
    np.testing.assert_array_equal(shell, (radius() / 1.5).astype(int))
    part = shell_of((8, 4, 0), (10, 12, 44), VOXEL, CENTRE, 1.5)
    np.testing.assert_array_equal(part, shell[8:18, 4:16])


def test_sums_of_tiles_are_those_of_the_volume_and_leave_unknown_voxels_out():
    values = np.random.default_rng(0).uniform(3, 9, SHAPE).astype(np.float32)
    values[radius() > 20] = np.nan
    shell = shell_of((0, 0, 0), SHAPE, VOXEL, CENTRE, 1.5)
    whole = shell_sums(shell, values, 20)
    parts = shell_sums(shell[:17], values[:17], 20) + shell_sums(shell[17:], values[17:], 20)
    np.testing.assert_allclose(whole, parts, rtol=1e-12)
    assert whole[:, 0].sum() == np.isfinite(values).sum()


def test_a_resolution_that_falls_with_radius_has_its_slope():
    """3 A in the middle and 0.05 A more an angstrom, read at the middles of the shells."""
    values = (3 + 0.05 * radius()).astype(np.float32)
    shell = shell_of((0, 0, 0), SHAPE, VOXEL, CENTRE, 1.5)
    sums = shell_sums(shell, values, 14)
    mean, deviation = means_and_deviations(sums)
    line = fit_line((np.arange(14) + 0.5) * 1.5, mean, sums[:, 0])
    assert line.slope == pytest.approx(0.05, rel=0.03)
    assert line.intercept_angstrom == pytest.approx(3.0, abs=0.03)
    assert line.slope_error < 0.002
    # Uniform inside a shell of 1.5 A: 0.05 * 1.5 / sqrt(12).
    assert np.nanmax(deviation) == pytest.approx(0.0217, rel=0.1)


def test_a_slope_is_as_uncertain_as_it_says():
    """200 noisy profiles: the slopes scatter by their stated error (6 % known from 200)."""
    rng = np.random.default_rng(1)
    x, w = np.arange(1.0, 31), np.full(30, 100.0)
    lines = [fit_line(x, 4 + 0.02 * x + 0.3 * rng.standard_normal(30), w) for _ in range(200)]
    spread = np.std([line.slope for line in lines])
    assert spread == pytest.approx(np.mean([line.slope_error for line in lines]), rel=0.2)


def test_the_rim_of_a_particle_is_left_out_of_the_fit():
    """Flat at 3 A up to 20 A, then falling: 3.9 A on average, so the outer 7.8 A are the rim."""
    radius = np.arange(0.5, 26)
    mean = np.where(radius < 20, 3.0, 3 + 0.3 * (radius - 20))
    voxels = radius**2
    inner = inner_shells(radius, mean, voxels)
    assert radius[inner].max() == 17.5
    line = fit_line(radius, np.where(inner, mean, np.nan), voxels)
    assert abs(line.slope) < 1e-9


def test_a_particle_that_is_all_rim_is_fitted_whole():
    radius = np.arange(0.5, 6)
    assert inner_shells(radius, np.full(6, 9.0), np.ones(6)).all()


def test_too_few_shells_have_no_slope():
    line = fit_line(np.arange(4.0), np.array([1.0, 2.0, np.nan, np.nan]), np.ones(4))
    assert np.isnan(line.slope)


def test_z_scores_are_distances_from_the_shell_in_its_own_deviations():
    shell = np.array([0, 0, 1, 1, 2, 5])
    values = np.array([3.0, 5.0, 4.0, np.nan, 7.0, 1.0], np.float32)
    mean, deviation = np.array([4.0, 4.0, np.nan]), np.array([0.5, 0.0, np.nan])
    found = z_score(values, shell, mean, deviation)
    np.testing.assert_allclose(found, [2, 2, 0, np.nan, np.nan, np.nan])
