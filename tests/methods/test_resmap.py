"""ResMap by tiles is ResMap of the whole; noise is not found; the program is matched."""

import gzip
from dataclasses import dataclass

import mrcfile
import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.engine.runner import output
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.methods.products import FLAG_NEVER_ABOVE, FLAG_OUTSIDE
from distres.methods.resmap import run_resmap
from distres.methods.resmap_plan import ResmapParameters

VOXEL = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Held:
    """A source in memory."""

    data: np.ndarray

    @property
    def shape(self):
        return self.data.shape

    def read(self, region):
        return self.data[region]

    def identity(self):
        return {"shape": list(self.data.shape)}


def noise(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def waves(shape):
    """A wave of 4 voxels on one side, of 9 on the other."""
    x = np.arange(shape[2])
    fine, coarse = (0.7 * np.sin(2 * np.pi * x / period) for period in (4.0, 9.0))
    return np.broadcast_to(np.where(x < shape[2] // 2, fine, coarse), shape).astype(np.float32)


def middle(shape, edge=6):
    mask = np.zeros(shape, np.float32)
    mask[edge:-edge, edge:-edge, edge:-edge] = 1
    return mask


def compute(path, maps, mask, *, tile=None, **given):
    names = ("map",) if len(maps) == 1 else ("half1", "half2")
    sources = {name: Held(values) for name, values in zip(names, maps, strict=True)}
    run = Run.open(path)
    grid = Grid(shape=mask.shape, voxel_size_angstrom=VOXEL)
    parameters = ResmapParameters(**{"device": "cpu", "coarsest_angstrom": 10.0, **given})
    result = run_resmap(sources, Held(mask), None, grid, run, Executor(), parameters, tile=tile)
    whole = (slice(None),) * 3
    found = [output(run, path).read(whole)[0] for path in (result.locres, result.flags)]
    return (*found, result)


@pytest.fixture(scope="module")
def pair():
    shape = (42, 44, 48)
    signal = waves(shape)
    return [signal + noise(shape, s) for s in (1, 2)]


FEW = {"finest_angstrom": 3.0, "coarsest_angstrom": 8.0, "step_angstrom": 2.5}


def test_tiles_give_what_the_whole_gives(tmp_path, pair):
    mask = middle(pair[0].shape)
    whole, whole_flags, first = compute(tmp_path / "whole", pair, mask, whiten=0.0, **FEW)
    tiled, tiled_flags, second = compute(tmp_path / "tiled", pair, mask, whiten=0.0, tile=24, **FEW)
    np.testing.assert_allclose(second.variances, first.variances, rtol=1e-6)
    # A statistic on the edge of a bin (0.2 % wide) may round to either side.
    assert (np.nan_to_num(tiled) != np.nan_to_num(whole))[mask > 0].mean() < 1e-3
    assert (tiled_flags != whole_flags).mean() < 1e-3


def test_whitened_tiles_differ_in_few_voxels(tmp_path, pair):
    mask = middle(pair[0].shape)
    whole, _, _ = compute(tmp_path / "whole", pair, mask, **FEW)
    tiled, _, _ = compute(tmp_path / "tiled", pair, mask, tile=24, **FEW)
    # Sixteen voxels of halo hold the whitening filter to 0.2 %.
    assert (np.nan_to_num(tiled) != np.nan_to_num(whole))[mask > 0].mean() < 0.01


def test_waves_are_found_at_their_wavelength(tmp_path, pair):
    mask = middle(pair[0].shape)
    locres, flags, _ = compute(tmp_path / "run", pair, mask, whiten=0.0)
    inside = mask > 0
    assert np.isfinite(locres[inside]).mean() > 0.95
    # The skirts of the test reach to 0.6 of the wavelength (others.md 2.2).
    fine, coarse = (np.nanmedian(np.where(inside, locres, np.nan)[:, :, s]) for s in (
        slice(8, 18), slice(30, 42)))  # fmt: skip
    assert 0.6 * 4 < fine < 1.1 * 4
    assert 0.6 * 9 < coarse < 1.1 * 9
    assert (flags[~inside] == FLAG_OUTSIDE).all()
    assert np.isnan(locres[~inside]).all()


@pytest.mark.slow
@pytest.mark.parametrize("local", [True, False])
def test_noise_is_found_at_most_at_the_rate(tmp_path, local):
    halves = [noise((44, 44, 44), s) for s in (3, 4)]
    mask = middle(halves[0].shape)
    locres, flags, _ = compute(tmp_path / "run", halves, mask, local_noise=local)
    assert np.isfinite(locres).sum() <= 0.05 * mask.sum()
    assert ((flags[mask > 0] & FLAG_NEVER_ABOVE) != 0).mean() >= 0.95


def test_stronger_noise_on_one_side_is_not_taken_for_signal(tmp_path):
    shape = (32, 32, 80)
    strength = np.where(np.arange(80) < 60, 1.0, 4.0).astype(np.float32)
    halves = [noise(shape, s) * strength for s in (5, 6)]
    mask = middle(shape)
    found = {}
    for local in (True, False):
        locres, _, _ = compute(
            tmp_path / str(local), halves, mask, local_noise=local, whiten=0.0, **FEW
        )
        found[local] = np.isfinite(locres[mask > 0]).mean()
    # Levels are smoothed over some 30 voxels: within that of the step a few voxels are called.
    assert found[True] < 0.04
    # That is what one variance for all does.
    assert found[False] > 0.05


def test_coloured_noise_is_not_taken_for_signal(tmp_path):
    """The variance is that of the noise as the test sees it, so that its colour does not matter."""
    shape = (48, 48, 48)
    frequency = np.sqrt(
        np.fft.fftfreq(48)[:, None, None] ** 2
        + np.fft.fftfreq(48)[:, None] ** 2
        + np.fft.rfftfreq(48) ** 2
    )
    halves = [
        np.fft.irfftn(np.fft.rfftn(noise(shape, s)) * np.exp(-4 * frequency), shape, (0, 1, 2))
        for s in (20, 21)
    ]
    halves = [half.astype(np.float32) for half in halves]
    for whiten in (0.0, 1.0):
        locres, _, _ = compute(tmp_path / str(whiten), halves, middle(shape), whiten=whiten, **FEW)
        assert np.isfinite(locres).sum() <= 0.05 * middle(shape).sum()


def test_a_single_map_takes_its_noise_from_the_solvent(tmp_path):
    shape = (60, 60, 60)
    mask = np.zeros(shape, np.float32)
    mask[20:40, 20:40, 20:40] = 1
    density = noise(shape, 7) + waves(shape) * mask
    locres, _, _ = compute(tmp_path / "run", [density], mask, whiten=0.0, **FEW)
    # Between crests of the coarser wave, at this noise, a voxel in five is not enough.
    assert np.isfinite(locres[mask > 0]).mean() > 0.7


def test_a_single_map_without_solvent_is_refused(tmp_path):
    density = noise((30, 30, 30), 8)
    with pytest.raises(InputError, match="half maps"):
        compute(tmp_path / "run", [density], np.ones(density.shape, np.float32))


def test_equal_halves_are_refused(tmp_path):
    density = noise((30, 30, 30), 8)
    with pytest.raises(InputError, match="half maps"):
        compute(tmp_path / "run", [density, density], middle(density.shape), whiten=0.0)


def test_wavelengths_are_a_ratio_or_a_step_apart():
    grid = Grid(shape=(50, 50, 50), voxel_size_angstrom=(1.0, 1.0, 1.0))
    found = ResmapParameters().wavelengths(grid)
    assert found[0] == pytest.approx(2.2)
    assert found[-1] == pytest.approx(16.0)
    ratios = np.array(found[1:]) / found[:-1]
    assert ratios.max() <= 1.15 + 1e-9
    published = ResmapParameters(compat="resmap", coarsest_angstrom=9.0).wavelengths(grid)
    np.testing.assert_allclose(published, np.arange(2.2, 9.3))


@pytest.mark.parametrize(
    "given",
    [
        {"rate": 0.0},
        {"kappa": 9.0},
        {"whiten": 2.0},
        {"step_angstrom": 0.0},
        {"finest_angstrom": 8.0, "coarsest_angstrom": 4.0},
        {"compat": "other"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(given):
    with pytest.raises(UsageError):
        ResmapParameters(**given)


@pytest.mark.slow
def test_published_settings_agree_with_resmap(tmp_path, shared):
    def read(name):
        with gzip.open(shared / "oracles" / "blob128" / f"{name}.mrc.gz") as stream:
            return np.array(mrcfile.mrcinterpreter.MrcInterpreter(stream).data, np.float32)

    halves, mask, oracle = [read("half1"), read("half2")], read("mask"), read("resmap")
    locres, _, _ = compute(
        tmp_path / "run", halves, mask, compat="resmap", coarsest_angstrom=9.0, tile=64
    )
    found = np.nan_to_num(locres, nan=100.0)
    inside = middle(mask.shape, 9) * mask > 0
    assert (np.abs(found - oracle)[inside] < 1.1).mean() > 0.98
