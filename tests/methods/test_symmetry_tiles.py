"""Which voxels of a symmetric particle are solved, and what their mates are given."""

import numpy as np
import pytest

from distres.engine.jobs import TileInputs
from distres.engine.tiles import TilePlan
from distres.kernels.masks import block_max
from distres.kernels.symmetry import operators
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
from distres.methods.products import FLAG_NEVER_ABOVE, FLAG_NYQUIST, FLAG_OUTSIDE
from distres.methods.symmetry_tiles import FLAGS, UNIT, copied_path, expand_tile, unit_tile


class Held:
    """An array as a source."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def read(self, region):
        return self.values[(..., *region)] if len(region) == 3 else self.values[region]

    def identity(self):
        return {}


def tiles(setting, core, mask, **more):
    """Run both tile functions over a volume and put their tiles together."""
    parameters = {
        "setting": setting,
        "shape": list(mask.shape),
        "spacing_angstrom": [1.5] * 3,
        "centre_vox": [float(n // 2) for n in mask.shape],
        "margin_angstrom": 3.0,
        "mask_above": 0.0,
        "inverse": {"locres": True},
    }
    function, names = (
        (expand_tile, (copied_path("locres"), FLAGS)) if more else (unit_tile, (UNIT,))
    )
    given = {"mask": mask, "occupancy": block_max(mask, OCCUPANCY_DIVISOR), **more}
    sources = {name: Held(values) for name, values in given.items()}
    shape = more["locres"].shape if more else mask.shape
    out = {name: np.zeros(shape, np.float32) for name in names}
    for tile in TilePlan(shape=mask.shape, core=(core,) * 3, halo=(0, 0, 0)):
        result = function(TileInputs(tile=tile, sources=sources), parameters)
        for name in names:
            out[name][(..., *tile.core)] = result.arrays[name]
    return [out[name].astype(np.uint8 if name == FLAGS else np.float32) for name in names]


def invariant(setting, shape):
    """A smooth resolution map that a group leaves as it is."""
    places = (np.stack(np.indices(shape), -1).astype(float) - [n // 2 for n in shape]) / 10
    total = np.zeros(shape)
    for matrix in operators(setting):
        total += np.cos(places @ (matrix @ [0.3, 0.7, 0.5]) * 2)
    return (5 + 2 * total / np.abs(total).max()).astype(np.float32)


@pytest.mark.parametrize("setting", ["C3", "D7", "T2", "O", "I1", "I2"])
def test_any_group_copies_its_unit(setting):
    shape = (32, 32, 32)
    away = np.sqrt(((np.stack(np.indices(shape), -1) - 16) ** 2).sum(axis=-1))
    mask = ((away < 15) & (away > 7)).astype(np.float32)
    (unit,) = tiles(setting, 32, mask)
    order = len(operators(setting))
    # The margin adds to small units most: two voxels around a unit of a few thousand.
    assert unit.sum() < mask.sum() * (1 / order + 0.25)
    truth = invariant(setting, shape)
    solved = np.where(unit > 0, truth, np.nan)[None]
    flags = np.where(unit > 0, 0, FLAG_OUTSIDE).astype(np.uint8)[None]
    locres, marks = tiles(setting, 32, mask, locres=solved, flags=flags)
    inside = mask > 0
    assert np.isfinite(locres[0][inside]).all()
    assert (marks[0][inside] == 0).all()
    # Linear interpolation of curvature (2 |k| / 10 voxels)^2 ~ 0.03 a voxel squared.
    np.testing.assert_allclose(locres[0][inside], truth[inside], rtol=0.02)
    again = tiles(setting, 16, mask, locres=solved, flags=flags)
    np.testing.assert_array_equal(again[0], locres)
    np.testing.assert_array_equal(again[1], marks)
    np.testing.assert_array_equal(tiles(setting, 16, mask)[0], unit)


def test_undefined_voxels_never_mix_in():
    shape = (40, 40, 40)
    away = np.sqrt(((np.stack(np.indices(shape), -1) - 20) ** 2).sum(axis=-1))
    mask = (away < 18).astype(np.float32)
    (unit,) = tiles("I1", 40, mask)
    rng = np.random.default_rng(0)
    none = rng.random(shape) < 0.3
    solved = np.where((unit > 0) & ~none, 7.0, np.nan).astype(np.float32)[None]
    flags = np.where(none, FLAG_NEVER_ABOVE, FLAG_NYQUIST)
    flags = np.where(unit > 0, flags, FLAG_OUTSIDE).astype(np.uint8)[None]
    locres, marks = tiles("I1", 40, mask, locres=solved, flags=flags)
    known = np.isfinite(locres)
    np.testing.assert_allclose(locres[known], 7, rtol=1e-5)
    # A voxel has a number, or a reason for having none, and never both.
    assert ((marks[~known] & (FLAG_NEVER_ABOVE | FLAG_OUTSIDE)) != 0).all()
    assert ((marks[known] & (FLAG_NEVER_ABOVE | FLAG_OUTSIDE)) == 0).all()
    share = known[0][mask > 0].mean()
    assert 0.65 < share < 0.95


def test_a_mask_that_lacks_the_symmetry_is_answered_all_over():
    """The unit holds a mate of every voxel wanted, also where only the mate is wanted."""
    shape = (40, 40, 40)
    z, y, x = np.indices(shape) - 20
    mask = ((z**2 + y**2 + x**2 < 17**2) & (y > 3)).astype(np.float32)
    (unit,) = tiles("C4", 40, mask)
    solved = np.where(unit > 0, 4.0, np.nan).astype(np.float32)[None]
    flags = np.where(unit > 0, 0, FLAG_OUTSIDE).astype(np.uint8)[None]
    locres, _ = tiles("C4", 40, mask, locres=solved, flags=flags)
    assert np.isfinite(locres[0][mask > 0]).all()


def test_corners_without_a_mate_are_solved_themselves():
    """A turn by 45 degrees takes the corners of the box outside of it."""
    mask = np.ones((8, 40, 40), np.float32)
    (unit,) = tiles("C8", 40, mask)
    solved = np.where(unit > 0, 4.0, np.nan).astype(np.float32)[None]
    flags = np.where(unit > 0, 0, FLAG_OUTSIDE).astype(np.uint8)[None]
    locres, _ = tiles("C8", 40, mask, locres=solved, flags=flags)
    assert np.isfinite(locres).all()
    assert unit.mean() < 0.5


def test_several_maps_are_copied_at_once_each_in_its_own_way():
    """Halfway between voxels of 4 and 6: a resolution is 2 / (1/4 + 1/6), another number 5."""
    shape = (8, 8, 8)
    z, _, _ = np.indices(shape)
    checks = np.where(z % 2 == 0, 4.0, 6.0).astype(np.float32)
    kept = np.broadcast_to(np.where(z == 2, np.nan, 1.0).astype(np.float32), (2, *shape))
    parameters = {
        "setting": "D1",
        "shape": list(shape),
        "spacing_angstrom": [1.0] * 3,
        # The axis lies along x: voxel z has its mate at 6.5 - z, halfway between two.
        "centre_vox": [3.25, 3.5, 3.5],
        "mask_above": 0.0,
        "inverse": {"locres": True, "uncertainty": False, "pair": True},
    }
    sources = {
        "locres": Held(checks),
        "uncertainty": Held(checks),
        "pair": Held(kept),
        "flags": Held(np.full(shape, FLAG_NYQUIST, np.uint8)),
        "mask": Held(np.ones(shape, np.float32)),
    }
    (tile,) = TilePlan(shape=shape, core=shape, halo=(0, 0, 0))
    found = expand_tile(TileInputs(tile=tile, sources=sources), parameters).arrays
    moved = found[copied_path("locres")] != checks
    assert moved.any()
    np.testing.assert_allclose(found[copied_path("locres")][moved], 4.8, rtol=1e-6)
    np.testing.assert_allclose(found[copied_path("uncertainty")][moved], 5, rtol=1e-6)
    # A neighbour without a number is left out where the other carries half the weight.
    assert found[copied_path("pair")].shape == (2, *shape)
    np.testing.assert_array_equal(found[copied_path("pair")][:, moved], 1)
    assert (found[FLAGS] == FLAG_NYQUIST).all()
