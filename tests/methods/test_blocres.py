"""The box FSC by tiles is the box FSC of the whole, and says when it knows nothing."""

import gzip
from dataclasses import dataclass

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.engine.runner import output
from distres.engine.tiles import TilePlan
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.boxcross import (
    degrees_of_freedom,
    effective_threshold,
    first_sustained_crossing,
)
from distres.kernels.boxfsc import box_fsc
from distres.kernels.interpolate import apply_matrices, interpolate_known
from distres.methods.blocres import BlocresParameters, run_blocres
from distres.methods.blocres_tiles import _node_region, design_of
from distres.methods.products import FLAG_BORDER, FLAG_NEVER_ABOVE, FLAG_OUTSIDE


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


def grid_of(volume, voxel=(1.0, 1.0, 1.0)):
    return Grid(shape=volume.shape, voxel_size_angstrom=voxel)


def halves(shape, seed=0, signal=2.0):
    """A smooth signal and independent noise."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(shape)
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    fall = np.exp(-20 * sum(axis**2 for axis in k))
    smooth = signal * np.fft.ifftn(np.fft.fftn(white) * fall).real * 5
    return [(smooth + rng.standard_normal(shape)).astype(np.float32) for _ in "12"]


def compute(path, pair, *, mask=None, tile=None, means=(0.0, 0.0), voxel=(1.0, 1.0, 1.0), **given):
    run = Run.open(path)
    executor = Executor()
    result = run_blocres(
        Held(pair[0]),
        Held(pair[1]),
        grid_of(pair[0], voxel),
        run,
        executor,
        BlocresParameters(**{"box_vox": 11, "device": "cpu", **given}),
        means=means,
        mask=None if mask is None else Held(mask),
        tile=tile,
    )
    whole = (slice(None),) * 3
    found = [output(run, path).read(whole) for path in (result.locres, result.flags)]
    return (*found, result)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("tile", [16, 24])
def test_tiles_give_what_the_whole_gives(tmp_path, step, tile):
    pair = halves((37, 40, 45))
    mask = np.zeros(pair[0].shape, np.float32)
    mask[5:30, 3:40, 8:33] = 1
    given = {"mask": mask, "step_vox": step, "thresholds": (0.5, 0.143)}
    whole, whole_flags, _ = compute(tmp_path / "whole", pair, **given)
    tiled, tiled_flags, _ = compute(tmp_path / "tiled", pair, tile=tile, **given)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(tiled))
    # Equal sums; a matrix product may order them by the size of the block.
    np.testing.assert_allclose(tiled, whole, rtol=1e-4)
    np.testing.assert_array_equal(tiled_flags, whole_flags)


def test_at_step_one_every_voxel_has_its_own_box(tmp_path):
    pair = halves((20, 22, 24), seed=1)
    locres, flags, result = compute(tmp_path / "run", pair, step_vox=1, thresholds=(0.5,))
    design = design_of(result.parameters)
    limit, start = effective_threshold(0.5, degrees_of_freedom(design))
    for z, y, x in [(10, 11, 12), (5, 16, 7), (14, 5, 18)]:
        part = tuple(slice(c - 5, c + 6) for c in (z, y, x))
        boxes = [torch.from_numpy(h[part].copy()) for h in pair]
        curve = box_fsc(*boxes, design, wanted=np.ones((1, 1, 1), bool))
        shell, _ = first_sustained_crossing(curve, limit, start=start)
        expected = 1 / (shell[0] * design.width_per_angstrom)
        np.testing.assert_allclose(locres[0, z, y, x], expected, rtol=1e-4)
        assert not flags[0, z, y, x] & FLAG_BORDER
    assert flags[0, 0, 0, 0] & FLAG_BORDER


def test_voxels_outside_the_mask_are_not_answered(tmp_path):
    pair = halves((24, 24, 24), seed=2)
    mask = np.zeros(pair[0].shape, np.float32)
    mask[8:16, 8:16, 8:16] = 0.3
    locres, flags, result = compute(tmp_path / "run", pair, mask=mask, step_vox=2)
    outside = mask == 0
    assert np.isnan(locres[:, outside]).all()
    assert (flags[:, outside] == FLAG_OUTSIDE).all()
    assert np.isfinite(locres[0][~outside]).mean() > 0.95
    # Nodes 8, 10, 12, 14 and one beyond on the far side.
    assert result.boxes == 5**3


@pytest.mark.parametrize("window", ["hann", "sphere"])
def test_noise_has_no_resolution(tmp_path, window):
    rng = np.random.default_rng(3)
    pair = [rng.standard_normal((40, 40, 40)).astype(np.float32) for _ in "12"]
    locres, flags, _ = compute(tmp_path / "run", pair, box_vox=13, window=window)
    for values, bits in zip(locres, flags, strict=True):
        assert np.isnan(values).mean() >= 0.95
        assert ((bits & FLAG_NEVER_ABOVE) != 0).mean() >= 0.95


def test_two_nodes_that_were_not_computed_do_not_pull(tmp_path):
    nodes = np.full((3, 3, 3), np.nan, np.float32)
    nodes[:, :, 0] = 0.25
    tile = TilePlan(shape=(5, 5, 5), core=(8, 8, 8), halo=(0, 0, 0)).tile(0)
    region, matrices = _node_region(tile, nodes.shape, 2)
    found = interpolate_known(torch.from_numpy(nodes[region])[None], matrices)[0].numpy()
    np.testing.assert_allclose(found[:, :, :2], 0.25, rtol=1e-6)
    assert np.isnan(found[:, :, 2:]).all()


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 5))
def test_a_linear_field_is_interpolated_exactly_by_any_tile(n, step, units):
    plan = TilePlan(shape=(n, n, n), core=(units * step,) * 3, halo=(0, 0, 0))
    count = -(-n // step)
    nodes = np.arange(count, dtype=np.float32)[:, None, None] * np.ones((1, count, count), "f4")
    for tile in list(plan)[:: max(len(plan) // 3, 1)]:
        region, matrices = _node_region(tile, nodes.shape, step)
        found = apply_matrices(torch.from_numpy(nodes[region]), matrices).numpy()
        place = np.minimum(np.arange(tile.core[0].start, tile.core[0].stop) / step, count - 1)
        np.testing.assert_allclose(found[:, 0, 0], place, atol=1e-5)


def test_unequal_voxels_take_a_box_of_equal_lengths(tmp_path):
    parameters = BlocresParameters(box_angstrom=22.0)
    grid = Grid(shape=(30, 40, 50), voxel_size_angstrom=(2.0, 1.0, 1.1))
    assert parameters.resolved(grid)["box_vox"] == [11, 23, 21]


@pytest.mark.parametrize(
    "given",
    [
        {"box_angstrom": 20.0},
        {"thresholds": (0.5, 0.5)},
        {"thresholds": (1.5,)},
        {"padding": -1.0},
        {"step_vox": 0},
        {"compat": "other"},
        {"window": "cube"},
        {"window": "sphere", "compat": "bsoft"},
    ],
)
def test_parameters_that_make_no_sense_are_refused(given):
    with pytest.raises(UsageError):
        BlocresParameters(**{"box_vox": 11, **given})


def test_a_box_must_be_known():
    grid = Grid(shape=(40, 40, 40), voxel_size_angstrom=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="not known"):
        BlocresParameters().resolved(grid)


def test_a_box_larger_than_the_volume_is_refused():
    grid = Grid(shape=(20, 40, 40), voxel_size_angstrom=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="7 to 20"):
        BlocresParameters(box_vox=21).resolved(grid)


def test_bsoft_settings_agree_with_bsoft_at_its_points(tmp_path, shared):
    def read(name):
        with gzip.open(shared / "oracles" / "blob128" / f"{name}.mrc.gz") as stream:
            return np.array(mrcfile.mrcinterpreter.MrcInterpreter(stream).data, np.float32)

    pair, mask = [read("half1"), read("half2")], read("mask")
    # Half of the volume, with what its boxes reach, is enough here.
    cut = np.s_[:72]
    oracle = {c: read(f"blocres_{c}")[cut] for c in (0.5, 0.143)}
    locres, _, _ = compute(
        tmp_path / "run",
        [h[cut] for h in pair],
        mask=mask[cut],
        means=[float(h.mean()) for h in pair],
        box_vox=20,
        step_vox=4,
        thresholds=(0.5, 0.143),
        compat="bsoft",
        tile=48,
    )
    for values, expected in zip(locres, oracle.values(), strict=True):
        both = (expected > 0) & np.isfinite(values)
        both[60:] = False
        assert both.sum() > 2000
        error = np.abs(values - expected)[both]
        assert np.median(error) < 0.05
        assert np.percentile(error, 95) < 0.3
