"""Automatic masks find what was put into the box; given masks are checked."""

from dataclasses import dataclass, field
from math import pi

import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.engine.tiles import TilePlan
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.io.volume import ArrayVolume
from distres.methods import mask as mask_module
from distres.methods.mask import auto_mask, load_mask
from distres.methods.mask_plan import MaskParameters
from distres.methods.nearby import tiles_near


@dataclass(frozen=True)
class Held:
    """A source, and a volume, in memory."""

    data: np.ndarray
    grid: Grid | None = None
    path: str = "held.mrc"
    header: None = field(default=None)
    random_access: bool = True

    @property
    def shape(self):
        return self.data.shape

    def read(self, region):
        return self.data[region]

    def identity(self):
        return {"path": self.path}


def ball(shape, radius, centre=None, voxel=(1.0, 1.0, 1.0)):
    centre = [(n - 1) / 2 for n in shape] if centre is None else centre
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squares = sum(((a - c) * v) ** 2 for a, c, v in zip(axes, centre, voxel, strict=True))
    return (squares <= radius**2).astype(np.float32)


def noisy_halves(signal, sigma=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return [signal + sigma * rng.standard_normal(signal.shape).astype(np.float32) for _ in "12"]


def make(tmp_path, halves, name="run", grid=None, tile=None, **parameters):
    run = Run.open(tmp_path / name)
    levels = [[Held(half)] for half in halves]
    grid = grid or Grid(shape=halves[0].shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    result = auto_mask(
        levels[0],
        levels[1] if len(levels) > 1 else None,
        grid,
        run,
        Executor(),
        MaskParameters(**parameters),
        tile=tile,
    )
    return result, result.source.read((slice(None),) * 3)


@pytest.mark.parametrize("count", [1, 2])
def test_sphere_in_noise_is_recovered(tmp_path, count):
    radius, dilation, edge = 20.0, 4.0, 5.0
    halves = noisy_halves(ball((80, 72, 76), radius))[:count]
    result, mask = make(tmp_path, halves, dilation_angstrom=dilation, edge_angstrom=edge)
    assert result.kind == "particle"
    assert result.warnings == ()
    # Half of the edge is reached at radius + dilation + edge / 2. The surface at 0.3 of the
    # density lies outside the true one, by 0.52 blur sigmas (2.8 A) for a plane, less the
    # curvature's sigma^2 / radius = 0.4 A: between -1 and +1 sigma with room for voxels (0.5 A).
    effective = (3 * (mask > 0.5).sum() / (4 * pi)) ** (1 / 3)
    expected = radius + dilation + edge / 2
    assert expected - 1 < effective < expected + 2.8
    assert result.statistics["inside_vox"] == (mask > 0.5).sum()
    assert mask.dtype == np.float32
    assert (mask.min(), mask.max()) == (0, 1)
    # Everything of the true ball is inside.
    assert mask[ball(mask.shape, radius) > 0].min() == 1


def test_tiles_give_the_whole_volumes_mask_bit_for_bit(tmp_path):
    halves = noisy_halves(ball((70, 61, 83), 17.0, centre=(30, 25, 45)))
    _, whole = make(tmp_path, halves, "whole", tile=96)
    for tile in (16, 40):
        _, tiled = make(tmp_path, halves, f"tile{tile}", tile=tile)
        np.testing.assert_array_equal(tiled, whole)


def test_a_coarse_search_draws_nearly_the_fine_mask(tmp_path, monkeypatch):
    signal = ball((96, 96, 96), 26.0)
    halves = noisy_halves(signal, sigma=0.2)
    _, fine = make(tmp_path, halves, "fine")
    monkeypatch.setattr(mask_module, "SEARCH_EDGE_VOX", 48)
    run = Run.open(tmp_path / "coarse")
    # Low-passed before every second voxel is taken, as a pyramid does.
    from scipy.ndimage import gaussian_filter

    levels = [[Held(half), Held(gaussian_filter(half, 0.9)[::2, ::2, ::2])] for half in halves]
    grid = Grid(shape=signal.shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    result = auto_mask(levels[0], levels[1], grid, run, Executor(), tile=40)
    coarse = result.source.read((slice(None),) * 3)
    assert result.statistics["search_level"] == 1
    # The extra blur (0.9 A beside 2.8 A) and linear interpolation move the surface by less than
    # a third of a voxel: on a ball of radius 33 that is 3 * 0.33 / 33 = 3 % of the volume.
    assert (coarse > 0.5).sum() == pytest.approx((fine > 0.5).sum(), rel=0.03)
    with pytest.raises(UsageError, match="level 1"):
        auto_mask(levels[0][:1], None, grid, run, Executor())


def test_dust_goes_and_two_particles_stay(tmp_path):
    shape = (64, 64, 128)
    signal = ball(shape, 16.0, (32, 32, 30)) + ball(shape, 12.0, (32, 32, 95))
    signal += 4 * ball(shape, 2.0, (12, 12, 64))
    result, mask = make(tmp_path, noisy_halves(signal, sigma=0.5), component_fraction=0.2)
    assert result.statistics["components_kept"] == 2
    assert result.statistics["components_removed"] >= 1
    assert mask[12, 12, 64] == 0
    assert mask[32, 32, 30] == mask[32, 32, 95] == 1


def test_distances_are_angstrom_in_anisotropic_voxels(tmp_path):
    shape, voxel = (40, 80, 60), (2.0, 1.0, 1.5)
    signal = ball(shape, 18.0, voxel=voxel)
    grid = Grid(shape=shape, voxel_size_angstrom=voxel)
    _, mask = make(tmp_path, noisy_halves(signal, sigma=0.3), grid=grid, edge_angstrom=10.0)
    extents = [
        v * (mask > 0.5).any(axis=tuple({0, 1, 2} - {axis})).sum() for axis, v in enumerate(voxel)
    ]
    # The same diameter along every axis, up to one voxel on either side.
    assert max(extents) - min(extents) <= 2 * max(voxel)


def test_noise_alone_is_refused_in_words(tmp_path):
    halves = noisy_halves(np.zeros((64, 64, 64), dtype=np.float32))
    with pytest.raises(InputError, match="no particle found"):
        make(tmp_path, halves, "two")
    with pytest.raises(InputError, match="no particle found"):
        make(tmp_path, halves[:1], "one")


def test_constant_and_broken_maps_are_refused(tmp_path):
    flat = np.full((32, 32, 32), 3.0, dtype=np.float32)
    with pytest.raises(InputError, match="constant"):
        make(tmp_path, [flat, flat], "flat")
    broken = noisy_halves(flat)[0]
    broken[3, 3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        make(tmp_path, [broken], "broken")


def test_masked_maps_are_found_and_said_to_be_masked(tmp_path):
    particle, outline = ball((72, 72, 72), 18.0), ball((72, 72, 72), 26.0)
    halves = [half * outline for half in noisy_halves(particle)]
    result, mask = make(tmp_path, halves)
    assert result.kind == "particle"
    assert any("masked before" in line for line in result.warnings)
    # The find stays inside the outline, so the mask ends a dilation and an edge beyond it.
    assert not mask[ball(mask.shape, 26.0 + 2 + 5 + 1) == 0].any()
    assert mask[particle > 0].min() == 1


def test_signal_all_over_the_box_gives_the_whole_box(tmp_path):
    rng = np.random.default_rng(7)
    from scipy.ndimage import gaussian_filter

    texture = 40 * gaussian_filter(rng.standard_normal((64, 64, 64)), 4).astype(np.float32)
    result, mask = make(tmp_path, noisy_halves(texture, sigma=0.5))
    assert result.kind == "everything"
    assert (mask == 1).all()
    assert any("whole box" in line for line in result.warnings)


def test_dark_particles_are_followed_and_said_to_be_dark(tmp_path):
    particle = ball((64, 64, 64), 16.0)
    result, mask = make(tmp_path, noisy_halves(-particle))
    assert result.statistics["inverted"]
    assert any("inverted" in line for line in result.warnings)
    assert mask[particle > 0].min() == 1


def test_a_mask_at_the_box_edge_warns_and_names_the_face(tmp_path):
    result, _ = make(tmp_path, noisy_halves(ball((64, 64, 64), 18.0, (32, 32, 8))))
    assert result.statistics["touches"] == ["first x"]
    assert any("touches the box edge (first x)" in line for line in result.warnings)


def test_a_tiny_mask_warns(tmp_path):
    shape = (128, 128, 128)
    result, _ = make(
        tmp_path,
        noisy_halves(3 * ball(shape, 7.0), sigma=0.2),
        dilation_angstrom=0.0,
        edge_angstrom=0.0,
        density_fraction=0.9,
        resolution_angstrom=8.0,
    )
    assert result.statistics["fraction"] < 1e-3
    assert any("right one" in line for line in result.warnings)


@pytest.mark.parametrize("core", [16, 24, 50])
def test_no_masked_voxel_lies_in_a_tile_that_is_left_out(tmp_path, core):
    result, mask = make(tmp_path, noisy_halves(ball((70, 61, 83), 12.0, (20, 25, 60))))
    plan = TilePlan(shape=mask.shape, core=(core, core, core), halo=(4, 4, 4))
    chosen = set(tiles_near(result.occupancy, plan))
    masked = {tile.index for tile in plan if mask[tile.core].any()}
    assert masked <= chosen
    # Conservative by less than one occupancy cell: what is chosen has mask within 7 voxels.
    near = {
        tile.index
        for tile in plan
        if mask[tuple(slice(max(s.start - 7, 0), s.stop + 7) for s in tile.core)].any()
    }
    assert chosen <= near
    assert len(chosen) < len(plan) or core == 50


@pytest.mark.parametrize(
    "changes",
    [
        {"false_positive_level": 0.0},
        {"density_fraction": 1.5},
        {"dilation_angstrom": -1.0},
        {"resolution_angstrom": 0.0},
    ],
)
def test_parameters_out_of_range_are_refused(changes):
    with pytest.raises(UsageError, match=str(next(iter(changes.values())))):
        MaskParameters(**changes)


def load(tmp_path, values, grid=None, name="run"):
    held = Held(values, grid=Grid(shape=values.shape, voxel_size_angstrom=(1.0, 1.0, 1.0)))
    run = Run.open(tmp_path / name)
    result = load_mask(held, grid or held.grid, run, Executor(), tile=16)
    return result, result.source.read((slice(None),) * 3)


def test_a_given_mask_is_kept_as_it_is(tmp_path):
    values = ball((40, 36, 30), 10.0) * np.float32(0.75)
    values[20, 18, 15] = 1
    result, stored = load(tmp_path, values)
    np.testing.assert_array_equal(stored, values)
    assert result.kind == "given"
    assert not result.statistics["binary"]
    assert result.statistics["fraction"] == pytest.approx((values > 0.5).mean())
    plan = TilePlan(shape=values.shape, core=(16, 16, 16), halo=(0, 0, 0))
    assert set(tiles_near(result.occupancy, plan)) >= {
        t.index for t in plan if values[t.core].any()
    }


def test_a_mask_held_in_memory_or_compressed_is_read_once(tmp_path):
    values = ball((40, 36, 30), 10.0)
    grid = Grid(shape=values.shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    run = Run.open(tmp_path / "run")
    result = load_mask(ArrayVolume(array=values, grid=grid), grid, run, Executor(), tile=16)
    np.testing.assert_array_equal(result.source.read((slice(None),) * 3), values)
    assert result.path == "inputs/mask/0"
    assert result.statistics["inside_vox"] == values.sum()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m * 2, "from 0 to 2"),
        (lambda m: m - 1, "from -1 to 0"),
        (lambda m: m * 0, "empty"),
        (lambda m: np.where(m > 0, np.nan, m), "not finite"),
    ],
)
def test_masks_that_are_none_are_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        load(tmp_path, change(ball((32, 32, 32), 8.0)).astype(np.float32))


def test_a_mask_on_another_grid_is_refused_with_both_values(tmp_path):
    values = ball((32, 30, 28), 8.0)
    with pytest.raises(InputError, match=r"28, 30, 32.*28, 30, 40"):
        load(tmp_path, values, Grid(shape=(40, 30, 28), voxel_size_angstrom=(1.0, 1.0, 1.0)))
    with pytest.raises(InputError, match=r"1, 1, 1.*1.2, 1.2, 1.2"):
        load(tmp_path, values, Grid(shape=values.shape, voxel_size_angstrom=(1.2, 1.2, 1.2)), "b")
