"""A whole run of the box FSC, from two files to maps and record."""

import json

import mrcfile
import numpy as np
import pytest

from distres.errors import UsageError
from distres.methods.blocres import BlocresParameters
from distres.methods.blocres_run import compute_blocres
from distres.methods.options import RunOptions

EDGE = 48


def write(path, values):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = 1.5
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two halves of a ball of blurred atoms whose resolution is the same everywhere."""
    folder = tmp_path_factory.mktemp("blocres")
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(EDGE) for _ in range(3))]
    ball = sum((a - (EDGE - 1) / 2) ** 2 for a in axes) < 15**2
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) for _ in range(3)), indexing="ij")
    fall = np.exp(-25 * sum(a**2 for a in k))
    signal = np.fft.ifftn(np.fft.fftn(ball * rng.standard_normal(ball.shape)) * fall).real
    signal *= 1 / signal[ball].std()
    halves = [signal + 0.3 * rng.standard_normal(ball.shape) for _ in "12"]
    names = [write(folder / f"map_half{i}.mrc", h) for i, h in enumerate(halves, 1)]
    return {"halves": names, "mask": write(folder / "mask.mrc", ball), "inside": ball}


def test_a_run_leaves_maps_and_a_record(tmp_path, files):
    options = RunOptions(output=tmp_path / "run", mask=files["mask"])
    done = compute_blocres(*files["halves"], BlocresParameters(device="cpu"), options)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["method"] == "blocres"
    # Six times the global resolution in voxels of 1.5 A, rounded and then up to an odd number.
    box = record["parameters"]["resolved"]["box_vox"]
    expected = 6 * record["blocres"]["global_resolution_angstrom"] / 1.5
    assert all(-0.5 <= edge - expected <= 1.5 for edge in box)
    locres = mrcfile.read(tmp_path / "run" / record["outputs"]["locres"])
    inside = files["inside"]
    assert (locres[~inside] == 0).all()
    statistics = record["statistics"]["0.5"]
    assert statistics["fraction_resolved"] > 0.9
    assert np.median(locres[inside & (locres > 0)]) == pytest.approx(statistics["median"], rel=0.02)
    dataset = done.dataset()
    assert dataset["locres"].shape == (2, EDGE, EDGE, EDGE)


def test_bsoft_halves_need_no_common_scale(tmp_path, files):
    """Bsoft subtracts the mean of each half: an offset must not change its answer."""
    moved = write(tmp_path / "moved.mrc", mrcfile.read(files["halves"][1]) * 2 + 5)
    given = BlocresParameters(box_vox=12, step_vox=6, compat="bsoft", device="cpu")
    maps = []
    for name, second in (("plain", files["halves"][1]), ("moved", moved)):
        options = RunOptions(output=tmp_path / name, mask=files["mask"])
        done = compute_blocres(files["halves"][0], second, given, options)
        maps.append(done.dataset(load=True)["locres"].values)
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-3)


def test_halves_that_never_correlate_need_a_box(tmp_path):
    rng = np.random.default_rng(1)
    names = [
        write(tmp_path / f"noise_half{i}.mrc", rng.standard_normal((32, 32, 32))) for i in (1, 2)
    ]
    mask = write(tmp_path / "mask.mrc", np.pad(np.ones((16, 16, 16)), 8))
    with pytest.raises(UsageError, match="--box"):
        compute_blocres(*names, BlocresParameters(), RunOptions(output=tmp_path / "run", mask=mask))
