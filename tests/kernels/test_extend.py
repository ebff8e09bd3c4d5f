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
