"""Directions on the half-sphere."""

import numpy as np
import pytest

from distres.errors import UsageError
from distres.kernels.directions import half_sphere, tilt_and_rotation, turned
from distres.kernels.symmetry import operators


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


def test_a_copy_shows_along_a_direction_what_lies_there_turned_back():
    """72 degrees about z keep the set: there the direction itself is named, not its neighbour."""
    directions, rotations = half_sphere(46), operators("C5")
    found = turned(directions, rotations)
    np.testing.assert_array_equal(found[0], np.arange(46))
    for rotation, names in zip(rotations, found, strict=True):
        assert sorted(names) == list(range(46))
        back = directions @ rotation  # rotation^-1 of each
        np.testing.assert_allclose(np.abs((directions[names] * back).sum(axis=1)), 1, atol=1e-9)


@pytest.mark.parametrize("setting", ["C4", "D7", "O", "I2"])
def test_of_any_group_the_nearest_direction_is_named(setting):
    directions, rotations = half_sphere(81), operators(setting)
    found = turned(directions, rotations)
    cosines = np.abs(np.einsum("rdi,rdi->rd", directions[found], directions @ rotations))
    # No place of the half-sphere is farther than that from a direction.
    assert np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))) < 10.5
    # What is the same along all directions stays so.
    assert (np.full(81, 7)[found].sum(axis=0) == 7 * len(rotations)).all()
