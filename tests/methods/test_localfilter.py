"""The local filter is the low-pass of its resolution, whatever the tile and the level."""

from dataclasses import dataclass

import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.engine.runner import output
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.kernels.resample import halve_volume
from distres.methods.localfilter import FilterParameters, choose_bank, run_filter

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


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pyramid(volume, levels):
    found = [volume]
    while len(found) < levels:
        found.append(halve_volume(found[-1]))
    return [Held(level) for level in found]


def compute(path, volume, locres, *, levels=1, tile=None, **given):
    run = Run.open(path)
    grid = Grid(shape=volume.shape, voxel_size_angstrom=VOXEL)
    result = run_filter(
        pyramid(volume, levels),
        Held(locres.astype(np.float32)),
        grid,
        run,
        Executor(),
        FilterParameters(device="cpu", **given),
        tile=tile,
    )
    return output(run, result.filtered).read((slice(None),) * 3), result


def low_pass(volume, resolution, edge=0.3):
    """The filter written out, on the volume continued by reflection without end."""
    n = volume.shape
    wide = np.pad(volume, [(0, m - 2) for m in n], mode="reflect")
    k = np.meshgrid(*(np.fft.fftfreq(m) for m in wide.shape), indexing="ij")
    s = np.sqrt(sum(axis**2 for axis in k))
    place = np.clip((s * resolution - 1) / edge + 0.5, 0, 1)
    found = np.fft.ifftn(np.fft.fftn(wide) * (1 + np.cos(np.pi * place)) / 2).real
    return found[tuple(slice(m) for m in n)]


@pytest.mark.parametrize(("resolution", "levels"), [(3.0, 1), (6.0, 1), (12.0, 2), (24.0, 3)])
def test_one_resolution_is_one_low_pass_on_every_level(tmp_path, resolution, levels):
    # The last voxel is one of every level, so that all are reflected at the same place.
    volume = noise((65, 57, 49))
    found, result = compute(
        tmp_path / "run", volume, np.full(volume.shape, resolution), levels=levels
    )
    assert result.levels == (levels - 1,)
    expected = low_pass(volume, resolution)
    error = found - expected
    # 0.5 % from the cut halo, 0.1 % a level from halving, 0.01 % from interpolation.
    assert error.std() < 0.008 * expected.std()


def test_tiles_give_what_the_whole_gives(tmp_path):
    volume = noise((69, 65, 65), 1)
    z = np.arange(69)[:, None, None]
    locres = np.broadcast_to(3.0 + z / 3, volume.shape)
    whole, result = compute(tmp_path / "whole", volume, locres, levels=3)
    assert set(result.levels) == {0, 1, 2}
    tiled, _ = compute(tmp_path / "tiled", volume, locres, levels=3, tile=24)
    error = tiled - whole
    # Both cut filters where 0.5 % of the rms is left; so does each against the other.
    assert error.std() < 0.008 * whole.std()
    assert np.abs(error).max() < 0.05 * whole.std()


def test_each_half_gets_its_own_resolution(tmp_path):
    volume = noise((49, 49, 97), 2)
    locres = np.full(volume.shape, 4.0)
    locres[:, :, 48:] = 10.0
    found, _ = compute(tmp_path / "run", volume, locres, levels=2)
    for part, resolution in ((slice(0, 48), 4.0), (slice(48, 97), 10.0)):
        expected = low_pass(volume, resolution)[:, :, part]
        assert (found[:, :, part] - expected).std() < 0.01 * expected.std()


def test_voxels_without_resolution_take_the_coarsest_filter(tmp_path):
    volume = noise((40, 40, 40), 3)
    locres = np.linspace(4, 8, 40)[:, None, None] * np.ones(volume.shape)
    locres[:, :, 20:] = 0.0
    found, _ = compute(tmp_path / "run", volume, locres)
    expected = low_pass(volume, 8.0)[:, :, 24:]
    # The sample of the map may miss its last value by a few thousandths.
    assert (found[:, :, 24:] - expected).std() < 0.03 * expected.std()


def test_a_negative_b_factor_sharpens(tmp_path):
    volume = noise((32, 32, 32), 4)
    locres = np.full(volume.shape, 4.0)
    plain, _ = compute(tmp_path / "plain", volume, locres)
    sharp, _ = compute(tmp_path / "sharp", volume, locres, b_factor_angstrom2=-50.0)
    assert sharp.std() > 1.2 * plain.std()


def test_a_map_without_resolutions_is_refused():
    grid = Grid(shape=(8, 8, 8), voxel_size_angstrom=VOXEL)
    with pytest.raises(InputError, match="--unit"):
        choose_bank(np.zeros(100, np.float32), grid, FilterParameters())


def test_what_the_user_says_of_the_map_counts():
    grid = Grid(shape=(100, 100, 100), voxel_size_angstrom=VOXEL)
    sample = np.linspace(0.1, 0.4, 100).astype(np.float32)
    guessed, _ = choose_bank(sample, grid, FilterParameters())
    assert guessed.per_pixel
    told, bank = choose_bank(sample * 100, grid, FilterParameters(empty=(10.0,)))
    assert told.empty == (10.0,)
    assert 1 / bank.cutoffs_per_angstrom[-1] > 10.0


def test_a_senseless_edge_is_refused():
    with pytest.raises(UsageError):
        FilterParameters(edge=0.0)
