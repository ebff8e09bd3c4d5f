"""A map with missing views is found out, a good one is not accused."""

import csv
import json

import mrcfile
import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.errors import ClusterError, UsageError
from distres.io.grid import Grid
from distres.methods.fsc_directional import DirectionalParameters, run_directional
from distres.methods.fsc_directional_run import compute_directional
from distres.methods.options import RunOptions
from distres.methods.phantom_chains import ModelParameters
from distres.methods.phantom_model import make_model
from distres.report.directionsplot import write_pictures

EDGE = 64


def write_halves(folder, missing_degrees, *, with_signal=False):
    """Halves whose signal lacks a cone around z."""
    rng = np.random.default_rng(0)
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) for _ in range(3)), indexing="ij")
    square = sum(a**2 for a in k)
    spectrum = np.fft.fftn(rng.standard_normal((EDGE,) * 3)) * 8 * np.exp(-20 * square)
    cosine = np.abs(k[0]) / np.sqrt(np.maximum(square, 1e-12))
    spectrum[cosine > np.cos(np.radians(missing_degrees))] = 0
    signal = np.fft.ifftn(spectrum).real
    names = []
    for i in "12":
        names.append(str(folder / f"views_half{i}.mrc"))
        with mrcfile.new(names[-1]) as mrc:
            mrc.set_data((signal + rng.standard_normal(signal.shape)).astype(np.float32))
            mrc.voxel_size = 1.5
    return (names, signal) if with_signal else names


def compute(folder, missing_degrees):
    names = write_halves(folder, missing_degrees)
    compute_directional(
        *names,
        DirectionalParameters(),
        RunOptions(output=folder / "run"),
        draw=lambda directory, stem, result: write_pictures(directory, stem, result, title=stem),
    )
    return json.loads((folder / "run" / "run.json").read_text())


def test_missing_views_are_found_and_named(tmp_path):
    record = compute(tmp_path, 40)
    found = record["statistics"]
    assert found["coarsest"]["tilt_degrees"] < 30
    coarsest = found["coarsest"]["resolution_angstrom"]
    assert coarsest is None or coarsest > 1.5 * found["finest"]["resolution_angstrom"]
    assert found["sphericity"] < 0.9
    assert any("directions differ" in warning for warning in record["warnings"])
    folder = tmp_path / "run"
    assert all((folder / name).stat().st_size > 500 for name in record["outputs"].values())
    rows = list(csv.DictReader((folder / record["outputs"]["directions"]).open()))
    assert len(rows) == 321


def test_a_map_with_all_views_is_not_accused(tmp_path):
    record = compute(tmp_path, 0)
    assert record["warnings"] == []
    found = record["statistics"]
    assert found["sphericity"] > 0.97
    # Occupancy of one half lies where the FSC of all directions crosses the threshold.
    assert found["occupancy_angstrom"]["0.5"] == pytest.approx(
        found["resolution_angstrom"], rel=0.06
    )


@pytest.mark.parametrize(("missing_degrees", "accused"), [(0, False), (40, True)])
def test_missing_views_of_haemagglutinin_are_found(tmp_path, shared, missing_degrees, accused):
    """On a long molecule in much noise directions differ by chance too: that is no accusation."""
    phantom = make_model(
        ModelParameters(
            structure=shared / "data" / "structures" / "4fqi.pdb.gz",
            voxel_size_angstrom=2.5,
            b_factor=80.0,
        )
    )
    density = phantom.density
    rng = np.random.default_rng(0)
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in density.shape), indexing="ij")
    cosine = np.abs(k[0]) / np.sqrt(np.maximum(sum(a**2 for a in k), 1e-12))
    spectrum = np.fft.fftn(density)
    spectrum[cosine > np.cos(np.radians(missing_degrees))] *= missing_degrees == 0
    noise = 0.7 * density[phantom.labels > 0].std()
    halves = [
        (np.fft.ifftn(spectrum).real + noise * rng.standard_normal(density.shape)).astype("f4")
        for _ in "12"
    ]
    options = RunOptions(output=tmp_path / "run", pixel_size_angstrom=2.5)
    record = compute_directional(*halves, DirectionalParameters(), options).record
    zone = record["statistics"]["occupancy_angstrom"]
    assert zone["0.9"] > 1.3 * zone["0.1"]
    assert any("directions differ" in text for text in record["warnings"]) == accused
    if accused:
        assert record["statistics"]["coarsest"]["tilt_degrees"] < 30
        assert record["statistics"]["uneven_shells"] > 10
    else:
        assert record["statistics"]["uneven_shells"] <= 1


def test_the_wiener_filter_errs_less_than_one_that_is_the_same_all_round(tmp_path):
    """Weights by direction leave out the noise of the missing cone, which a plain one lets in."""
    names, signal = write_halves(tmp_path, 40, with_signal=True)
    done = compute_directional(
        *names, DirectionalParameters(), RunOptions(output=tmp_path / "run"), wiener=True
    )
    record = done.record
    filtered = mrcfile.read(tmp_path / "run" / record["outputs"]["wiener"])
    mean = sum(mrcfile.read(name) for name in names) / 2
    rows = list(csv.DictReader((tmp_path / "run" / record["outputs"]["occupancy"]).open()))
    curve = np.clip([float(row["fsc"]) for row in rows], 0, 1)
    k = np.meshgrid(*(np.fft.fftfreq(EDGE) * EDGE for _ in range(3)), indexing="ij")
    shell = np.rint(np.sqrt(sum(a**2 for a in k))).astype(int)
    weights = np.append(2 * curve / (1 + curve), 0)[np.minimum(shell, len(curve))]
    plain = np.fft.ifftn(np.fft.fftn(mean) * weights).real
    errors = [np.mean((values - signal) ** 2) for values in (filtered, plain, mean)]
    # A quarter of all directions is missing, and half the error of a plain filter is noise it lets
    # pass: an eighth is to be gained, some of which the width of cones (17 degrees) takes back.
    assert errors[0] < 0.92 * errors[1] < errors[1] < errors[2]


def test_the_3d_fsc_is_low_where_views_are_missing(tmp_path):
    record = compute(tmp_path, 40)
    volume = mrcfile.read(tmp_path / "run" / record["outputs"]["fsc3d"])
    middle, shell = EDGE // 2, 12
    assert volume[middle, middle, middle] == 1
    assert volume[middle + shell, middle, middle] < 0.3
    assert volume[middle, middle, middle + shell] > 0.7
    # Friedel mates are alike.
    np.testing.assert_array_equal(volume[1:, 1:, 1:], volume[1:, 1:, 1:][::-1, ::-1, ::-1])


def test_a_worker_that_cannot_hold_the_halves_is_told(tmp_path):
    grid = Grid(shape=(512, 512, 512), voxel_size_angstrom=(1.0, 1.0, 1.0))
    with pytest.raises(ClusterError, match="--memory"):
        run_directional(
            {}, grid, Run.open(tmp_path / "run"), Executor(memory_bytes=10**9),
            DirectionalParameters(),
        )  # fmt: skip


@pytest.mark.parametrize(
    "given", [{"threshold": 0.0}, {"half_angle_degrees": 80.0}, {"directions": 100}]
)
def test_parameters_that_make_no_sense_are_refused(given):
    with pytest.raises(UsageError):
        DirectionalParameters(**given)
