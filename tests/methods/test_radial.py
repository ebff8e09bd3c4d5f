"""Resolution against radius, by tiles and from files."""

import csv
import json
from dataclasses import dataclass

import mrcfile
import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.resample import halve_volume
from distres.methods.options import RunOptions
from distres.methods.radial import RadialParameters, run_radial
from distres.methods.radial_run import compute_radial
from distres.report.radialplot import write_pictures

EDGE, CENTRE = 80, 40
BLURS = (60.0, 300.0)
STRENGTH = 4.0


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


@pytest.fixture(scope="module")
def halves():
    """Sharp within 20 voxels of the centre, blurred beyond, white noise."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.fftn(rng.standard_normal((EDGE,) * 3))
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) for _ in range(3)), indexing="ij")
    square = sum(axis**2 for axis in k)
    axes = np.ogrid[tuple(slice(EDGE) for _ in range(3))]
    radius = np.sqrt(sum((a - CENTRE) ** 2 for a in axes))
    sharp, soft = (STRENGTH * np.fft.ifftn(spectrum * np.exp(-b / 4 * square)).real for b in BLURS)
    signal = np.where(radius < 20, sharp, soft)
    return [(signal + rng.standard_normal(signal.shape)).astype(np.float32) for _ in "12"]


def compute(path, pair, tile=None):
    levels = [[Held(half), Held(halve_volume(half))] for half in pair]
    grid = Grid(shape=pair[0].shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    parameters = RadialParameters(thickness_angstrom=6.0, device="cpu")
    return run_radial(levels[0], levels[1], grid, Run.open(path), Executor(), parameters, tile=tile)


def test_tiles_give_what_the_whole_gives(tmp_path, halves):
    whole = compute(tmp_path / "whole", halves)
    tiled = compute(tmp_path / "tiled", halves, tile=32)
    # Filters are cut at two wavelengths, and each tile measures its own noise.
    assert np.abs(tiled.curves - whole.curves)[:, 4:].max() < 0.03
    for threshold, curve in whole.resolution_angstrom.items():
        other = tiled.resolution_angstrom[threshold]
        both = np.isfinite(curve) & np.isfinite(other)
        assert both.mean() > 0.8
        np.testing.assert_allclose(other[both], curve[both], rtol=0.03)


def test_a_run_leaves_a_curve_a_picture_and_a_painted_map(tmp_path, halves):
    names = []
    for i, half in enumerate(halves, 1):
        with mrcfile.new(tmp_path / f"capsid_half{i}.mrc") as mrc:
            mrc.set_data(half)
            mrc.voxel_size = 1.2
        names.append(str(tmp_path / f"capsid_half{i}.mrc"))
    mask = np.zeros((EDGE,) * 3, np.float32)
    mask[2:-2, 2:-2, 2:-2] = 1
    with mrcfile.new(tmp_path / "mask.mrc") as mrc:
        mrc.set_data(mask)
        mrc.voxel_size = 1.2
    done = compute_radial(
        *names,
        RadialParameters(thickness_angstrom=7.2, device="cpu"),
        RunOptions(output=tmp_path / "run", mask=str(tmp_path / "mask.mrc")),
        draw=lambda directory, stem, result: write_pictures(directory, stem, result, title=stem),
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    files = [tmp_path / "run" / name for name in record["radial"]["files"]]
    assert [f.suffix for f in files] == [".csv", ".svg", ".png"]
    assert all(f.stat().st_size > 1000 for f in files)
    rows = list(csv.DictReader(files[0].open()))
    radius = np.array([float(row["radius_angstrom"]) for row in rows])
    found = np.array([float(row["resolution_at_0.5_angstrom"] or "nan") for row in rows])
    for blur, (low, high) in zip(BLURS, ((6, 15), (28, 37)), strict=True):
        # FSC 1/2 where strength^2 exp(-B s^2 / 2) = 1, in voxels of 1.2 A.
        truth = 1.2 * np.sqrt(blur / (4 * np.log(STRENGTH)))
        part = (radius > 1.2 * low) & (radius < 1.2 * high)
        assert np.median(found[part]) == pytest.approx(truth, rel=0.08)
    locres = done.dataset(load=True)["locres"].values[0]
    place = int(12 * 1.2 / 1.2)
    assert locres[CENTRE, CENTRE, CENTRE + place] == pytest.approx(found[place], rel=1e-3)


def test_a_shell_without_thickness_is_refused():
    with pytest.raises(UsageError):
        RadialParameters(thickness_angstrom=0.0)
