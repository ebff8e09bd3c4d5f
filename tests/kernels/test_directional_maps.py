"""From resolutions by direction to maps, and from lattice points to voxels."""

import numpy as np

from distres.kernels.directional_maps import MAPS, reduce_directions, to_voxels
from distres.kernels.directions import half_sphere

RESOLUTIONS = np.arange(20.0, 1.9, -0.5)
DIRECTIONS = half_sphere(81)


def index_of(angstrom):
    return np.round((20.0 - np.asarray(angstrom)) / 0.5).astype(np.int16)


def reduced(last, positions=None, counted=None):
    points = last.shape[1]
    return reduce_directions(
        last,
        RESOLUTIONS,
        DIRECTIONS,
        np.full((points, 3), 10.0) if positions is None else positions,
        np.ones(points, bool) if counted is None else counted,
        0.1,
    )


def test_percentiles_are_those_of_the_values_by_rank():
    """81 different resolutions, 2 to 20 A in any order: ranks 4, 76, 14 and 66 from the finest."""
    rng = np.random.default_rng(0)
    values = rng.choice(RESOLUTIONS, (81, 50))
    found = reduced(index_of(values)).values
    ordered = np.sort(values, axis=0)
    np.testing.assert_allclose(found["highest"], ordered[4])
    np.testing.assert_allclose(found["lowest"], ordered[76])
    np.testing.assert_allclose(found["adr"], (ordered[4] + ordered[76]) / 2)
    np.testing.assert_allclose(found["anisotropy"], (ordered[66] - ordered[14]) / 2)


def test_alike_in_all_directions_means_no_anisotropy_and_no_preference():
    found = reduced(np.full((81, 7), index_of(6.0)))
    for name in ("adr", "highest", "lowest", "radial", "tangential"):
        np.testing.assert_allclose(found.values[name], 6.0)
    np.testing.assert_allclose(found.values["anisotropy"], 0.0)
    assert (found.hits == 7).all()
    np.testing.assert_allclose(found.hit_sums, 42.0)


def test_a_direction_that_passed_nothing_has_the_coarsest_resolution():
    """A missing cone of 20 degrees: 5 of 81 directions, so the lowest is the coarsest tested."""
    last = np.full((81, 3), index_of(4.0))
    missing = DIRECTIONS[:, 0] > np.cos(np.radians(20))
    assert missing.sum() >= 5
    last[missing] = -1
    found = reduced(last)
    np.testing.assert_allclose(found.values["lowest"], 20.0)
    np.testing.assert_allclose(found.values["highest"], 4.0)
    assert (found.hits == np.where(missing, 0, 3)).all()


def test_a_point_where_nothing_passed_is_unknown_and_not_counted():
    last = np.full((81, 2), index_of(4.0))
    last[:, 1] = -1
    found = reduced(last)
    for name in MAPS:
        assert np.isfinite(found.values[name]).tolist() == [True, False]
    assert (found.hits == 1).all()


def test_radial_looks_along_the_radius_and_tangential_across_it():
    """Fine along z, coarse elsewhere: radial is finer on the z axis, tangential on the equator."""
    tilt = np.degrees(np.arccos(DIRECTIONS[:, 0]))
    last = index_of(np.where(tilt < 30, 4.0, 10.0))[:, None].repeat(3, axis=1)
    positions = np.array([[30.0, 0, 0], [0, 0, 30.0], [0.0, 0, 0]])
    found = reduced(last, positions).values
    assert found["radial"][0] < 9
    assert found["tangential"][0] == 10
    assert found["radial"][1] == 10
    assert found["tangential"][1] < 10
    # In the middle there is no radius: both are the mean.
    assert found["radial"][2] == found["tangential"][2] == found["adr"][2]


def test_points_of_another_tile_are_not_counted_twice():
    last = np.full((81, 4), index_of(4.0))
    found = reduced(last, counted=np.array([True, False, True, False]))
    assert (found.hits == 2).all()


def test_points_are_reduced_alike_whatever_their_number():
    """More points than fit one chunk."""
    rng = np.random.default_rng(1)
    last = rng.integers(-1, len(RESOLUTIONS), (81, 5000)).astype(np.int16)
    whole, tail = reduced(last), reduced(last[:, 4000:])
    for name in MAPS:
        np.testing.assert_array_equal(whole.values[name][4000:], tail.values[name])


def test_maps_are_interpolated_to_voxels_among_the_points_that_are_known():
    """Every second voxel is a point; the last one has no point beyond."""
    points = np.array([True, True, False, True])[None, None]
    maps = {
        "a": np.array([2.0, np.nan, 4.0], np.float32),
        "b": np.array([1.0, np.nan, 5.0], np.float32),
    }
    found = to_voxels(maps, points, 2, (1, 1, 8))
    # Half of the weight is enough: voxel 1 has its left neighbour, voxel 5 its right one.
    np.testing.assert_allclose(found["a"][0, 0], [2, 2, np.nan, np.nan, np.nan, 4, 4, 4])
    np.testing.assert_allclose(found["b"][0, 0], [1, 1, np.nan, np.nan, np.nan, 5, 5, 5])
