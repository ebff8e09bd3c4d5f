import numpy as np
import pytest

from distres.kernels.foreign import recognise, resolution_angstrom


def particle(seed=0):
    """Resolutions of a blob in a box of 32 voxels of 1 A, and where it lies."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(2.5, 9.0, (32, 32, 32)).astype(np.float32)
    inside = np.zeros(values.shape, bool)
    inside[8:24, 8:24, 8:24] = True
    return values, inside


def read(values, voxel=1.0):
    return resolution_angstrom(values, recognise(values, voxel, 32 * voxel), voxel)


@pytest.mark.parametrize("mark", [0.0, -1.0, 100.0, 200.0, 999.0, np.nan, np.inf])
def test_marks_of_other_programs_are_no_resolution(mark):
    values, inside = particle()
    marked = np.where(inside, values, np.float32(mark))
    found = read(marked)
    np.testing.assert_array_equal(np.isnan(found), ~inside)
    np.testing.assert_array_equal(found[inside], values[inside])


def test_a_filled_background_is_no_resolution():
    values, inside = particle()
    found = read(np.where(inside, values, np.float32(14.0)))
    np.testing.assert_array_equal(np.isnan(found), ~inside)


def test_the_coarsest_step_of_a_sweep_is_a_resolution():
    values, _ = particle()
    stepped = np.round(values * 2) / 2
    stepped[:, :, 16:] = 9.5
    assert np.isfinite(read(stepped)).all()


def test_a_real_hundred_angstrom_is_kept():
    values = np.linspace(80, 120, 32**3).astype(np.float32).reshape(32, 32, 32)
    assert np.isfinite(read(values, voxel=10.0)).all()


def test_frequencies_per_pixel_become_angstrom():
    values, inside = particle()
    per_pixel = np.where(inside, 1.2 / values, 0).astype(np.float32)
    found = read(per_pixel, voxel=1.2)
    np.testing.assert_allclose(found[inside], values[inside], rtol=1e-5)
    assert np.isnan(found[~inside]).all()


def test_an_empty_map_has_no_resolution_and_no_complaint():
    assert np.isnan(read(np.zeros((4, 4, 4), np.float32))).all()
