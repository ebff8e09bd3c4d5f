"""One asymmetric unit, solved and copied, gives what solving everything gives."""

from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np
import pytest
from scipy import ndimage

from distres.engine.jobs import TileInputs
from distres.engine.tiles import TilePlan
from distres.errors import InputError, UsageError
from distres.kernels.masks import block_max
from distres.kernels.symmetry import AsymmetricUnit, operators
from distres.methods.blocres import BlocresParameters
from distres.methods.blocres_run import compute_blocres
from distres.methods.curves import curve_at
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_run import compute_monores
from distres.methods.options import RunOptions
from distres.methods.products import FLAG_NEVER_ABOVE, FLAG_NYQUIST, FLAG_OUTSIDE
from distres.methods.radial import RadialParameters
from distres.methods.radial_run import compute_radial
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.resmap_run import compute_resmap
from distres.methods.spheres import SphereParameters
from distres.methods.spheres_run import compute_spheres
from distres.methods.symmetry_tiles import FLAGS, LOCRES, UNIT, expand_tile, unit_tile

EDGE = 48
MIDDLE = EDGE // 2

METHODS = MappingProxyType(
    {
        "localfsc": (compute_localfsc, LocalFscParameters(device="cpu")),
        # Node 0 is voxel 0 and the middle is a node: the two-fold axes keep the grid.
        "blocres": (compute_blocres, BlocresParameters(box_vox=15, step_vox=3, device="cpu")),
        "bsoft": (
            compute_blocres,
            BlocresParameters(box_vox=14, step_vox=2, compat="bsoft", device="cpu"),
        ),
        "relion": (
            compute_spheres,
            SphereParameters(sampling_angstrom=6, randomise_angstrom=2, device="cpu"),
        ),
        # The particle holds nothing coarser than its blur, and wide windows cost most.
        "resmap": (compute_resmap, ResmapParameters(coarsest_angstrom=8, device="cpu")),
        "monores": (compute_monores, MonoResParameters(device="cpu")),
    }
)

# What lies farther than a box or a sphere from a voxel does not matter to it.
FINITE = ("blocres", "bsoft", "relion")


def turned(volume, axis):
    """Turn by 180 degrees about an axis through the middle voxel, periodically."""
    others = tuple(a for a in range(3) if a != axis)
    return np.roll(np.flip(volume, others), 1, others)


def symmetrised(volume):
    """Average over D2: two-fold axes along x, y and z."""
    half = volume + turned(volume, 0)
    return ((half + turned(half, 2)) / 4).astype(np.float32)


@pytest.fixture(scope="module")
def particle():
    """Halves with D2 symmetry, noise included, sharper on one side of every unit."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices((EDGE,) * 3) - MIDDLE
    ball = z**2 + y**2 + x**2 < 17**2
    atoms = ball * rng.standard_normal(ball.shape)
    blurred = [ndimage.gaussian_filter(atoms, sigma) for sigma in (0.8, 1.6)]
    blurred = [density / density[ball].std() for density in blurred]
    # Even in every pair of axes that a turn reverses.
    side = 1 / (1 + np.exp(-(np.abs(z) - 8) / 2))
    density = symmetrised(side * blurred[0] + (1 - side) * blurred[1])
    noise = [symmetrised(rng.standard_normal(ball.shape)) for _ in "12"]
    return [density + 0.3 * n for n in noise], ball.astype(np.float32)


@pytest.fixture(scope="module")
def answers(particle, tmp_path_factory):
    """Return a function that computes a method once, with a symmetry or without."""

    @cache
    def answer(name, symmetry):
        # Cut across the unit, and across its faces.
        tile = 30 if symmetry != "C1" and name in FINITE else None
        return run(particle, name, tmp_path_factory.mktemp(name) / "run", symmetry, tile)

    return answer


def run(particle, name, folder, symmetry, tile=None):
    compute, parameters = METHODS[name]
    halves, mask = particle
    options = RunOptions(
        output=folder, mask=mask, pixel_size_angstrom=1.0, symmetry=symmetry, tile_vox=tile
    )
    done = compute(*halves, parameters, options)
    found = done.dataset(load=True)
    return done, found["locres"].values, found["flags"].values


@pytest.mark.parametrize("name", FINITE)
def test_inside_the_unit_nothing_changes_in_any_tiles(answers, name):
    """Where support is finite a solved voxel has the very bits it has without symmetry.

    The unit was solved in tiles, the whole volume in one.
    """
    _, copied, flags = answers(name, "D2")
    _, whole, whole_flags = answers(name, "C1")
    places = np.stack(np.indices((EDGE,) * 3), -1).reshape(-1, 3) - float(MIDDLE)
    own = AsymmetricUnit.of("D2").holds(places).reshape((EDGE,) * 3)
    np.testing.assert_array_equal(flags[:, own], whole_flags[:, own])
    # RELION's blending adds spheres in another order: a few dozen roundings of 6e-8.
    rtol = 1e-5 if name == "relion" else 0
    np.testing.assert_allclose(copied[:, own], whole[:, own], rtol=rtol)


@pytest.mark.parametrize("name", METHODS)
def test_a_copied_unit_is_the_whole_answer(particle, answers, name):
    done, copied, flags = answers(name, "D2")
    _, whole, _ = answers(name, "C1")
    facts = done.record["symmetry"]
    assert facts["order"] == 4
    assert min(facts["agreement"]) == 1
    # A quarter, and two voxels around it.
    assert 0.25 < facts["voxels_solved"] / (particle[1] > 0).sum() < 0.55
    inside = particle[1] > 0
    assert (np.isfinite(copied[:, ~inside])).sum() == 0
    assert (flags[:, ~inside] == FLAG_OUTSIDE).all()
    both = np.isfinite(copied) & np.isfinite(whole)
    known = (np.isfinite(copied) == np.isfinite(whole))[:, inside]
    ratio = copied[both] / whole[both]
    if name in ("blocres", "relion"):
        # Finite support: turned sums differ by rounding alone. A crossing may magnify that, and a
        # sphere on the edge between two shells (of 24) may take the other.
        assert known.mean() > 0.999
        assert (np.abs(ratio - 1) < (1e-3 if name == "blocres" else 1 / 24)).mean() > 0.999
    elif name != "bsoft":  # whose even boxes are not centred, so that no turn leaves them
        # Thresholds rest on the unit's noise, a quarter of the values, and tiles differ.
        assert known.mean() > 0.97
        assert (np.abs(ratio - 1) < 0.1).mean() > 0.95


@pytest.mark.parametrize("name", ["resmap", "monores"])
def test_a_single_map_keeps_the_solvent_of_the_whole_volume(particle, tmp_path, name):
    """Solvent is what lies outside the particle, not what lies outside the unit."""
    compute, parameters = METHODS[name]
    if name == "resmap":
        # No cube of solvent fits beside the particle in this box.
        parameters = replace(parameters, whiten=0.0)
    (first, second), mask = particle
    found = []
    for symmetry in ("C1", "D2"):
        options = RunOptions(
            output=tmp_path / symmetry, mask=mask, pixel_size_angstrom=1.0, symmetry=symmetry
        )
        done = compute((first + second) / 2, None, parameters, options, single=True)
        found.append(done.dataset(load=True)["locres"].values[0][mask > 0])
    whole, copied = found
    known = np.isfinite(whole) == np.isfinite(copied)
    assert known.mean() > 0.97
    both = np.isfinite(whole) & np.isfinite(copied)
    assert both.mean() > 0.5
    # The noise is the same; ResMap counts a quarter of the tests, and tiles differ.
    assert (np.abs(copied[both] / whole[both] - 1) < 0.1).mean() > 0.95


def test_the_answer_has_the_symmetry(answers):
    _, copied, flags = answers("localfsc", "D2")
    for axis in range(3):
        np.testing.assert_array_equal(turned(copied[0], axis), copied[0])
        np.testing.assert_array_equal(turned(flags[0], axis), flags[0])


def test_the_curve_of_a_point_is_that_of_its_mate(answers):
    """Curves are kept where they were measured; every point of the particle has one."""
    done, _, _ = answers("localfsc", "D2")
    at = np.array([9.0, 6.0, -7.0])
    mates = [tuple(r @ at + MIDDLE) for r in operators("D2")]
    curves = [curve_at(done.directory, mate)[1] for mate in mates]
    assert np.isfinite(curves[0]).all()
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], atol=1e-6)


def test_halves_without_the_symmetry_are_refused(particle, tmp_path):
    with pytest.raises(InputError, match=r"do not obey C4: its copies agree in \d+%"):
        run(particle, "blocres", tmp_path / "run", "C4")


def test_noise_has_no_symmetry_to_check(tmp_path):
    rng = np.random.default_rng(1)
    halves = [rng.standard_normal((EDGE,) * 3).astype(np.float32) for _ in "12"]
    with pytest.raises(InputError, match="leave out --symmetry"):
        run((halves, np.ones_like(halves[0])), "localfsc", tmp_path / "run", "I")


@pytest.mark.parametrize("name", ["resmap", "monores"])
def test_published_forms_need_whole_volumes(particle, tmp_path, name):
    compute, parameters = METHODS[name]
    compat = type(parameters)(compat="xmipp" if name == "monores" else "resmap", device="cpu")
    options = RunOptions(
        output=tmp_path / "run", mask=particle[1], pixel_size_angstrom=1.0, symmetry="D2"
    )
    with pytest.raises(UsageError, match="leave out --symmetry"):
        compute(*particle[0], compat, options)


def test_a_dry_run_refuses_a_symmetry():
    with pytest.raises(UsageError, match="leave out --symmetry"):
        RunOptions(dry_run=True, symmetry="I1")


def test_what_is_no_point_group_is_refused_at_once():
    with pytest.raises(UsageError, match="no point group"):
        RunOptions(symmetry="X9")


def test_shells_refuse_a_symmetry(particle, tmp_path):
    options = RunOptions(output=tmp_path / "run", pixel_size_angstrom=1.0, symmetry="D2")
    with pytest.raises(UsageError, match="leave out --symmetry"):
        compute_radial(*particle[0], RadialParameters(thickness_angstrom=6.0), options)


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
    }
    function, names = (expand_tile, (LOCRES, FLAGS)) if more else (unit_tile, (UNIT,))
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
