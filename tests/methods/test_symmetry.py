"""One asymmetric unit, solved and copied, gives what solving everything gives."""

from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np
import pytest
from scipy import ndimage

from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.kernels.symmetry import AsymmetricUnit, operators
from distres.methods.blocres import BlocresParameters
from distres.methods.blocres_run import compute_blocres
from distres.methods.curves import curve_at
from distres.methods.deepres_plan import DeepResParameters
from distres.methods.deepres_run import compute_deepres
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_run import compute_monodir
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_run import compute_monores
from distres.methods.options import RunOptions
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.radial import RadialParameters
from distres.methods.radial_run import compute_radial
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.resmap_run import compute_resmap
from distres.methods.spheres import SphereParameters
from distres.methods.spheres_run import compute_spheres

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


def in_the_unit():
    """Tell which voxels lie in the unit that is solved."""
    places = np.stack(np.indices((EDGE,) * 3), -1).reshape(-1, 3) - float(MIDDLE)
    return AsymmetricUnit.of("D2").holds(places).reshape((EDGE,) * 3)


@pytest.mark.parametrize("name", FINITE)
def test_inside_the_unit_nothing_changes_in_any_tiles(answers, name):
    """Where support is finite a solved voxel has the very bits it has without symmetry.

    The unit was solved in tiles, the whole volume in one.
    """
    _, copied, flags = answers(name, "D2")
    _, whole, whole_flags = answers(name, "C1")
    own = in_the_unit()
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


def deepres(particle, folder, symmetry, **more):
    (first, second), mask = particle
    options = RunOptions(
        output=folder, mask=mask, pixel_size_angstrom=1.0, symmetry=symmetry, **more
    )
    parameters = DeepResParameters(model="A", device="cpu")
    done = compute_deepres((first + second) / 2, parameters, options)
    found = done.dataset(load=True)
    return done, found["locres"].values[0], found["uncertainty"].values, found["flags"].values[0]


def test_deepres_copies_answer_uncertainty_and_flags(particle, tmp_path):
    """The unit has what it has without symmetry, its mates the same.

    A network does not read a turned map quite alike: what it says of the mates itself is not this.
    """
    done, *copied = deepres(particle, tmp_path / "unit", "D2", tile_vox=24)
    _, *whole = deepres(particle, tmp_path / "whole", "C1")
    own, inside = in_the_unit(), particle[1] > 0
    for mine, theirs in zip(copied[:2], whole[:2], strict=True):
        np.testing.assert_array_equal(np.isfinite(mine), inside)
        # Tiles give what the whole gives to 1e-5 (test_deepres.py).
        np.testing.assert_allclose(mine[own], theirs[own], rtol=1e-5)
        for axis in range(3):
            np.testing.assert_array_equal(turned(mine, axis), mine)
    np.testing.assert_array_equal(copied[2][own], whole[2][own])
    np.testing.assert_array_equal((copied[2] & FLAG_OUTSIDE) > 0, ~inside)
    # Two readings of one place, each with the uncertainty that the network states, would lie within
    # one of it in erf(1 / 2) = 52 % of places if nothing made them alike.
    apart = np.abs(copied[0] - whole[0])[inside] / whole[1][inside]
    assert (apart < 1).mean() > 0.52
    facts = done.record["symmetry"]
    assert facts["agreement"] == [1, 1]
    # A quarter, and two voxels around it.
    assert 0.25 < facts["voxels_solved"] / inside.sum() < 0.55


STEP = 0.5


def monodir(particle, folder, symmetry, **more):
    halves, mask = particle
    options = RunOptions(output=folder, mask=mask, pixel_size_angstrom=1.0, symmetry=symmetry)
    parameters = MonoDirParameters(
        directions=46,
        finest_angstrom=2.5,
        coarsest_angstrom=8.0,
        step_angstrom=STEP,
        device="cpu",
        **more,
    )
    done = compute_monodir(*halves, parameters, options)
    return done.record, done.dataset(load=True)


def test_monodir_copies_maps_and_turns_directions_with_the_unit(particle, tmp_path):
    """The unit keeps its answer; a mate differs no more than the whole answer from itself turned.

    Directions are no grid that the group keeps, so that the whole answer differs from unit to unit.
    """
    record, copied = monodir(particle, tmp_path / "unit", "D2")
    whole_record, whole = monodir(particle, tmp_path / "whole", "C1")
    own, inside = in_the_unit(), particle[1] > 0
    for name in ("adr", "highest", "lowest", "anisotropy", "radial", "tangential", "monores"):
        mine, theirs = (np.squeeze(found[name].values) for found in (copied, whole))
        np.testing.assert_array_equal(np.isfinite(mine), inside)
        for axis in range(3):
            np.testing.assert_array_equal(turned(mine, axis), mine)
        apart, itself = np.abs(mine - theirs), np.abs(theirs - turned(theirs, 0))
        # Thresholds rest on the unit's noise, a quarter of the values: some tests are decided anew.
        assert (apart[own & inside] <= STEP + 1e-3).mean() > 0.97
        assert (apart[inside] <= STEP + 1e-3).mean() > (itself[inside] <= STEP + 1e-3).mean() - 0.02
    np.testing.assert_array_equal(copied["flags"].values[0] & FLAG_OUTSIDE > 0, ~inside)
    # A quarter, and two voxels around it.
    assert 0.25 < record["symmetry"]["voxels_solved"] / inside.sum() < 0.55
    mine, theirs = (found["monodir"] for found in (record, whole_record))
    # Each place counts four times. On an axis there are two mates, in 3 x 8 pairs of the 17 voxels
    # decided at every second one; the middle has itself alone.
    assert mine["places"] == theirs["places"] + 24 * 2 + 3
    shares = [[row["share"] for row in found["preferred_directions"]] for found in (mine, theirs)]
    # A quarter of a count is the same, the rest that of the nearest direction, whose cone overlaps;
    # 46 numbers without relation correlate by 0.15 (a standard deviation).
    assert np.corrcoef(shares)[0, 1] > 0.6


def test_a_map_without_the_symmetry_is_refused(particle, tmp_path):
    said = r"C4 is no symmetry of the map: turned copies agree in \d+% of its structure"
    with pytest.raises(InputError, match=said):
        deepres(particle, tmp_path / "run", "C4")


def test_halves_without_the_symmetry_are_refused(particle, tmp_path):
    with pytest.raises(InputError, match=r"C4 is no symmetry of the half maps: .* agree in \d+%"):
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


def test_directions_of_every_voxel_need_the_whole_volume(particle, tmp_path):
    with pytest.raises(UsageError, match=r"--keep-directions .*leave out --symmetry"):
        monodir(particle, tmp_path / "run", "D2", keep_directions=True)
    assert not (tmp_path / "run").exists()


def test_radii_are_counted_from_where_the_axes_meet():
    grid = Grid(shape=(8, 8, 8), voxel_size_angstrom=(1.0, 1.0, 2.0))
    group = {"centre_vox": [3.5, 3.5, 3.5]}
    centres = [
        MonoResInputs(half1=[], half2=None, grid=grid, point_group=each).centre_angstrom
        for each in (None, group)
    ]
    assert centres == [(4, 4, 8), (3.5, 3.5, 7)]


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
