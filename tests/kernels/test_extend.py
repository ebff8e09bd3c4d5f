import numpy as np
import pytest

from distres.kernels.extend import cell_means, extend_nearest


@pytest.fixture
def ball():
    z, y, x = np.mgrid[:24, :26, :28].astype(np.float32)
    inside = (z - 12) ** 2 + (y - 11) ** 2 + (x - 15) ** 2 < 36
    return np.where(inside, x + 100 * y + 10000 * z, np.nan).astype(np.float32)


def test_every_voxel_gets_a_value_of_a_nearest_known_voxel(ball):
    extended = extend_nearest(ball)
    known = np.argwhere(~np.isnan(ball))
    np.testing.assert_array_equal(extended[~np.isnan(ball)], ball[~np.isnan(ball)])
    rng = np.random.default_rng(0)
    for place in rng.integers(0, ball.shape, size=(50, 3)):
        distances = ((known - place) ** 2).sum(1)
        nearest = known[distances == distances.min()]
        assert extended[tuple(place)] in ball[tuple(nearest.T)]


def test_nothing_is_carried_beyond_the_reach(ball):
    extended = extend_nearest(ball, reach_vox=3)
    known = np.argwhere(~np.isnan(ball))
    places = np.argwhere(~np.isnan(extended))
    distances = np.sqrt(((places[:, None] - known[None]) ** 2).sum(2).min(1))
    assert distances.max() == 3.0
    assert np.isnan(extend_nearest(np.full((3, 3, 3), np.nan, np.float32))).all()


def test_cells_average_what_is_known_in_them(ball):
    cells = cell_means(ball, 8)
    assert cells.shape == (3, 4, 4)
    for index in np.ndindex(cells.shape):
        part = ball[tuple(slice(8 * i, 8 * i + 8) for i in index)]
        if np.isnan(part).all():
            assert np.isnan(cells[index])
        else:
            # float32 result of a float64 mean.
            assert cells[index] == pytest.approx(np.nanmean(part, dtype=np.float64), rel=1e-6)


def test_cubes_of_two_find_a_value_hardly_farther_than_the_nearest(ball):
    """Both ends of the way lie anywhere in their cubes: a diagonal of sqrt(3) each at most."""
    values = ball[:23, :25, :27]
    extended = extend_nearest(values, cell_vox=2)
    known = np.argwhere(~np.isnan(values))
    np.testing.assert_array_equal(extended[~np.isnan(values)], values[~np.isnan(values)])
    for place in np.random.default_rng(0).integers(0, values.shape, size=(50, 3)):
        distances = np.sqrt(((known - place) ** 2).sum(1))
        # Values name their place.
        chosen = distances[values[tuple(known.T)] == extended[tuple(place)]]
        assert chosen.min() < distances.min() + 2 * np.sqrt(3)


def test_cubes_keep_to_the_reach_in_whole_cubes(ball):
    extended = extend_nearest(ball, reach_vox=4, cell_vox=2)
    known = np.argwhere(~np.isnan(ball))
    places = np.argwhere(~np.isnan(extended))
    distances = np.sqrt(((places[:, None] - known[None]) ** 2).sum(2).min(1))
    assert 4.0 <= distances.max() < 4.0 + 2 * np.sqrt(3)
