"""A map is told how far it obeys a point group."""

import numpy as np
import pytest
from scipy import ndimage

from distres.kernels.symmetry import generators, operators
from distres.kernels.symmetry_check import agreement

EDGE = 48
CENTRE = (24.0, 24.0, 24.0)


def capsid(setting, *, centre=CENTRE, voxel=1.0, seed=0):
    """Atoms in a shell, repeated by a point group: a density and its mask."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(30, 3))
    atoms *= rng.uniform(12, 18, (30, 1)) / np.linalg.norm(atoms, axis=1, keepdims=True)
    places = np.concatenate([atoms @ r.T for r in operators(setting)]) / voxel + centre
    density = np.zeros((EDGE,) * 3)
    # Atoms are spread over the eight voxels around them, then blurred.
    low = np.floor(places).astype(int)
    for corner in np.ndindex(2, 2, 2):
        weight = np.abs(1 - np.array(corner) - (places - low)).prod(axis=1)
        np.add.at(density, tuple((low + corner).T), weight)
    density = ndimage.gaussian_filter(density, 1.5)
    away = np.sqrt(((np.indices(density.shape).T - centre[::-1]) ** 2).sum(axis=-1)).T
    return (density / density.std()).astype(np.float32), (away > 10) & (away < 21)


def halves(density, noise, seed=1):
    rng = np.random.default_rng(seed)
    return [density + noise * rng.standard_normal(density.shape, np.float32) for _ in "12"]


def measured(pair, mask, setting, centre=CENTRE):
    return agreement(
        pair[0],
        pair[1],
        mask,
        list(generators(setting)),
        voxel_size_angstrom=(1.0,) * 3,
        centre_vox=centre,
    )


@pytest.mark.parametrize("setting", ["I1", "I2", "O", "T1", "T2", "D5", "C3"])
def test_a_symmetric_map_agrees_and_another_group_does_not(setting):
    density, mask = capsid(setting)
    found = measured(halves(density, 1.0), mask, setting)
    # Some 1e4 coefficients of which noise spoils a few percent, and it is counted with.
    assert found.worst > 0.95
    other = {"I1": "I2", "I2": "I1", "O": "I1", "T1": "T2", "T2": "T1", "D5": "D7", "C3": "C4"}
    assert measured(halves(density, 1.0), mask, other[setting]).worst < 0.3


def test_noise_is_counted_with():
    """Noise that lowers the raw correlation by half leaves the agreement where it was."""
    density, mask = capsid("I1")
    quiet, loud = (measured(halves(density, n), mask, "I1").worst for n in (0.1, 1.5))
    assert abs(quiet - loud) < 0.05


def test_a_sphere_tells_nothing_of_symmetry():
    """What every turn leaves as it is takes no part: shells of density alone prove nothing."""
    density, mask = capsid("C1")
    away = np.sqrt(((np.indices(density.shape).T - CENTRE) ** 2).sum(axis=-1))
    ball = 20 * np.exp(-(((away - 15) / 3) ** 2)).astype(np.float32)
    assert measured(halves(density + ball, 0.5), mask, "I1").worst < 0.3


def test_the_centre_matters():
    density, mask = capsid("I1", centre=(23.5, 23.5, 23.5))
    pair = halves(density, 0.5)
    assert measured(pair, mask, "I1", centre=(23.5, 23.5, 23.5)).worst > 0.95
    assert measured(pair, mask, "I1").worst < 0.9


def test_halves_that_share_nothing_are_not_judged():
    rng = np.random.default_rng(3)
    pair = [rng.standard_normal((EDGE,) * 3).astype(np.float32) for _ in "12"]
    assert measured(pair, capsid("I1")[1], "I1") is None


def test_an_empty_mask_is_not_judged():
    density, mask = capsid("I1")
    assert measured(halves(density, 0.5), np.zeros_like(mask), "I1") is None


def test_a_single_map_is_judged_by_its_strong_shells():
    density, mask = capsid("I2")
    turns = {name: list(generators(name)) for name in ("I1", "I2")}
    found = {
        name: agreement(
            halves(density, 0.5)[0],
            None,
            mask,
            turns[name],
            voxel_size_angstrom=(1.0,) * 3,
            centre_vox=CENTRE,
        )
        for name in turns
    }
    assert found["I2"].worst > 0.8
    assert found["I1"].worst < 0.3
