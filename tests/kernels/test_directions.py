"""Directions on the half-sphere."""

import numpy as np
import pytest

from distres.errors import UsageError
from distres.kernels.directions import half_sphere, tilt_and_rotation


@pytest.mark.parametrize(
    ("count", "nearest", "farthest", "covering"),
    [(46, 21.1, 22.5, 13.9), (81, 15.85, 17.15, 10.5), (321, 7.9, 8.6, 5.3)],
)
def test_directions_are_evenly_spread(count, nearest, farthest, covering):
    directions = half_sphere(count)
    assert directions.shape == (count, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert directions[:, 0].min() >= -1e-12
    cosines = np.abs(directions @ directions.T)
    np.fill_diagonal(cosines, 0)
    angles = np.degrees(np.arccos(cosines.max(axis=1)))
    assert nearest < angles.min()
    assert angles.max() < farthest
    random = np.random.default_rng(0).standard_normal((5000, 3))
    random /= np.linalg.norm(random, axis=1)[:, None]
    cosines = np.abs(random @ directions.T).max(axis=1)
    assert np.degrees(np.arccos(cosines.min())) < covering


def test_directions_start_at_the_pole_and_read_as_tilt_and_rotation():
    directions = half_sphere(46)
    np.testing.assert_allclose(directions[0], [1, 0, 0], atol=1e-12)
    tilt, rotation = tilt_and_rotation(directions).T
    assert tilt[0] == 0
    z, _, x = directions.T
    np.testing.assert_allclose(z, np.cos(np.radians(tilt)), atol=1e-9)
    np.testing.assert_allclose(
        x, np.sin(np.radians(tilt)) * np.cos(np.radians(rotation)), atol=1e-9
    )


def test_other_counts_are_refused():
    with pytest.raises(UsageError, match="46, 81 or 321"):
        half_sphere(100)
