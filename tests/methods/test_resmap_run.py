"""A whole run of ResMap, from files to maps and record."""

import json

import mrcfile
import numpy as np
import pytest

from distres.methods.options import RunOptions
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.resmap_run import compute_resmap

EDGE = 64
FEW = ResmapParameters(
    finest_angstrom=5.0, coarsest_angstrom=12.0, step_angstrom=3.5, device="cpu", whiten=0.0
)


def write(path, values):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = 1.5
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two halves of a ball of blurred atoms, their mean, and the ball."""
    folder = tmp_path_factory.mktemp("resmap")
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(EDGE) for _ in range(3))]
    ball = sum((a - (EDGE - 1) / 2) ** 2 for a in axes) < 15**2
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) for _ in range(3)), indexing="ij")
    fall = np.exp(-25 * sum(a**2 for a in k))
    signal = np.fft.ifftn(np.fft.fftn(ball * rng.standard_normal(ball.shape)) * fall).real
    signal *= 1 / signal[ball].std()
    halves = [signal + 0.3 * rng.standard_normal(ball.shape) for _ in "12"]
    return {
        "halves": [write(folder / f"map_half{i}.mrc", h) for i, h in enumerate(halves, 1)],
        "map": write(folder / "whole.mrc", sum(halves) / 2),
        "mask": write(folder / "mask.mrc", ball),
        "inside": ball,
    }


def check(directory, files):
    record = json.loads((directory / "run.json").read_text())
    assert record["statistics"]["0.05"]["fraction_resolved"] > 0.9
    locres = mrcfile.read(directory / record["outputs"]["locres"])
    assert (locres[~files["inside"]] == 0).all()
    assert set(np.unique(locres[files["inside"]])) <= {0.0, 5.0, 8.5, 12.0}
    assert len(record["resmap"]["called"]) == len(record["resmap"]["wavelengths_angstrom"])
    return record


def test_half_maps_give_maps_and_a_record(tmp_path, files):
    options = RunOptions(output=tmp_path / "run", mask=files["mask"])
    done = compute_resmap(files["halves"][0], None, FEW, options)
    record = check(tmp_path / "run", files)
    assert set(record["inputs"]) == {"half1", "half2", "mask"}
    assert done.dataset()["locres"].shape == (1, EDGE, EDGE, EDGE)


def test_a_single_map_says_that_half_maps_are_better(tmp_path, files):
    options = RunOptions(output=tmp_path / "run", mask=files["mask"])
    compute_resmap(files["map"], None, FEW, options)
    record = check(tmp_path / "run", files)
    assert set(record["inputs"]) == {"map", "mask"}
    assert any("half maps" in warning for warning in record["warnings"])
