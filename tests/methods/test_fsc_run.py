import csv
import json
from pathlib import Path
from xml.etree import ElementTree as Tree

import gemmi
import mrcfile
import numpy as np
import pytest

from distres.errors import InputError
from distres.io.grid import Grid
from distres.io.volume import ArrayVolume
from distres.methods.fsc import FscParameters
from distres.methods.fsc_run import dry_run, run_fsc
from distres.methods.options import RunOptions

SHAPE = (30, 28, 26)
GRID = Grid(shape=SHAPE, voxel_size_angstrom=(2.0, 2.0, 2.0))


def smooth_pair(seed=0):
    """Halves whose common signal is smooth: an FSC that falls."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfftn(rng.normal(size=SHAPE))
    axes = np.fft.fftfreq(SHAPE[0]), np.fft.fftfreq(SHAPE[1]), np.fft.rfftfreq(SHAPE[2])
    square = sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))
    signal = np.fft.irfftn(spectrum * 10 * np.exp(-square * 80), s=SHAPE, axes=(0, 1, 2))
    return [(signal + rng.normal(size=SHAPE)).astype(np.float32) for _ in range(2)]


def soft_mask():
    axes = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in SHAPE)]
    radius = np.sqrt(sum(a.astype(float) ** 2 for a in axes))
    return (0.5 + 0.5 * np.cos(np.pi * np.clip((radius - 6) / 5, 0, 1))).astype(np.float32)


def volumes(*arrays, names=("half1", "half2")):
    return [
        ArrayVolume(array=array, grid=GRID, path=f"my {name}.mrc")
        for array, name in zip(arrays, names, strict=True)
    ]


def test_a_run_writes_every_curve_and_a_record(tmp_path):
    mask = write(tmp_path / "mask.mrc", soft_mask())
    drawn = []

    def draw(directory, stem, result):
        drawn.append((directory, stem, result.reported))
        path = directory / f"{stem}_fsc.svg"
        path.write_text("<svg/>")
        return [path]

    done = run_fsc(
        *volumes(*smooth_pair()),
        FscParameters(thresholds=(0.5, 0.143)),
        RunOptions(output=tmp_path / "run", mask=mask, argv=("distres", "fsc")),
        draw=draw,
    )
    result = done.result
    assert drawn == [(tmp_path / "run", "my half1", "corrected")]

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["method"] == "fsc"
    assert record["argv"] == ["distres", "fsc"]
    assert record["parameters"]["thresholds"] == [0.5, 0.143]
    assert record["fsc"]["resolution_angstrom"] == result.headline.resolution_angstrom
    assert record["warnings"] == [found.message for found in result.findings]
    assert set(record["outputs"]) == {"csv", "star", "xml", "plot_svg"}
    assert set(record["inputs"]) == {"half1", "half2", "mask"}
    files = {name: tmp_path / "run" / file for name, file in record["outputs"].items()}

    with files["csv"].open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(
        [float(row["fsc_corrected"]) for row in rows], result.curves["corrected"], rtol=1e-7
    )
    assert {"half_bit", "3_sigma", "effective_coefficients"} <= rows[0].keys()

    star = gemmi.cif.read(str(files["star"]))
    general = star["general"]
    resolution = float(general.find_value("_rlnFinalResolution"))
    assert resolution == pytest.approx(result.headline.resolution_angstrom, abs=1e-6)
    assert gemmi.cif.as_string(general.find_value("_rlnUnfilteredMapHalf2")) == "my half2.mrc"
    assert len(list(star["fsc"].find_loop("_rlnSpectralIndex"))) == result.shells.count

    values = [float(node.text) for node in Tree.parse(files["xml"]).getroot().iter("y")]
    np.testing.assert_allclose(values, result.curves["corrected"], atol=1e-6)

    summary = done.summary()
    json.dumps(summary, allow_nan=False)  # what --json prints is JSON that any reader takes
    assert Path(summary["outputs"]["csv"]) == files["csv"]


def test_halves_that_share_no_signal_still_leave_readable_files(tmp_path):
    rng = np.random.default_rng(1)
    halves = volumes(*(rng.normal(size=SHAPE).astype(np.float32) for _ in range(2)))
    done = run_fsc(*halves, FscParameters(thresholds=(0.9,)), RunOptions(output=tmp_path / "run"))
    assert done.result.headline.state == "never above"
    assert "never-above" in {found.code for found in done.result.findings}
    star = gemmi.cif.read(str(tmp_path / "run" / done.record["outputs"]["star"]))
    assert star["general"].find_value("_rlnFinalResolution") is None
    json.dumps(done.summary(), allow_nan=False)


def write(path, array, voxel=2.0):
    with mrcfile.new(path, compression="gzip" if path.suffix == ".gz" else None) as file:
        file.set_data(array)
        file.voxel_size = voxel
    return str(path)


def test_the_pixel_size_given_is_the_one_used(tmp_path):
    for number, half in zip("12", smooth_pair(2), strict=True):
        write(tmp_path / f"half{number}.mrc", half)
    first = str(tmp_path / "half1.mrc")
    plain = run_fsc(first, None, FscParameters(), RunOptions(output=tmp_path / "a"))
    options = RunOptions(output=tmp_path / "b", pixel_size_angstrom=1.0)
    given = run_fsc(first, None, FscParameters(), options)
    ratio = plain.result.headline.resolution_angstrom / given.result.headline.resolution_angstrom
    assert ratio == pytest.approx(2.0)


def test_compressed_inputs_give_the_same_bits(tmp_path):
    results = []
    for ending in ("mrc", "mrc.gz"):
        for number, half in zip("12", smooth_pair(2), strict=True):
            write(tmp_path / f"half{number}.{ending}", half)
        options = RunOptions(
            output=tmp_path / ending, mask=write(tmp_path / f"mask.{ending}", soft_mask())
        )
        first = str(tmp_path / f"half1.{ending}")
        results.append(run_fsc(first, None, FscParameters(), options).result)
    for name, curve in results[0].curves.items():
        np.testing.assert_array_equal(results[1].curves[name], curve)


def test_a_dry_run_computes_nothing_and_leaves_nothing(tmp_path):
    options = RunOptions(output=tmp_path / "run", dry_run=True)
    plan = dry_run(*volumes(*smooth_pair(3)), FscParameters(), options)
    assert plan["at_once"] is True
    assert plan["seconds"] >= 0
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_a_volume_beyond_memory_says_slabs_and_disk(tmp_path):
    shape = (256, 256, 256)  # 0.5 GB at 32 bytes a voxel: no array this large is ever made here
    zeros = np.broadcast_to(np.float32(0), shape)
    grid = Grid(shape=shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32), shape)
    halves = [ArrayVolume(array=a, grid=grid, path=n) for a, n in ((zeros, "a"), (ramp, "b"))]
    options = RunOptions(output=tmp_path / "run", dry_run=True, memory_bytes=900_000_000)
    plan = dry_run(*halves, FscParameters(), options)
    assert plan["at_once"] is False
    assert plan["memory_bytes"] <= 900_000_000
    assert plan["disk_bytes"] == 2 * 8 * 256 * 256 * 129


def test_a_missing_half_is_refused_by_name(tmp_path):
    with pytest.raises(InputError):
        run_fsc(
            str(tmp_path / "nothing_half1.mrc"),
            None,
            FscParameters(),
            RunOptions(output=tmp_path / "run"),
        )
    assert not (tmp_path / "run").exists()
