"""LocalDeblur by tiles: the same as in one piece, stopped and resumed, from any program's map."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.engine.cluster import open_executor
from distres.engine.tiles import TilePlan
from distres.errors import InputError, ResumeError, UsageError
from distres.methods import deblur, deblur_run
from distres.methods.deblur_passes import map_path
from distres.methods.deblur_plan import DeblurParameters
from distres.methods.deblur_run import deblur_halves, deblur_map
from distres.methods.options import RunOptions
from distres.methods.periodic import Reach

EDGE, VOXEL = 64, 1.5


class Memory:
    """A source in memory."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def read(self, region):
        return self.values[region]


@given(
    st.tuples(*[st.integers(3, 30)] * 3), st.integers(1, 12), st.integers(0, 9), st.integers(0, 999)
)
@settings(max_examples=60, deadline=None)
def test_a_block_is_the_periodic_surrounding_of_its_core(shape, core, halo, pick):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    plan = TilePlan(shape=shape, core=(core, core + 1, core + 2), halo=(halo,) * 3)
    tile = plan.tile(pick % len(plan))
    reach = Reach.of(tile.core, halo, shape)
    block = reach.read(Memory(values))
    assert np.array_equal(block[reach.crop], values[tile.core])
    for axis, (part, crop, n) in enumerate(zip(tile.core, reach.crop, shape, strict=True)):
        length = block.shape[axis]
        assert length == n or length >= part.stop - part.start + 2 * halo
        # Every plane of the block is the plane of the volume that lies there, modulo the box.
        places = (np.arange(length) - crop.start + part.start) % n
        others = [
            (np.arange(s) - c.start + p.start) % m
            for s, c, p, m in zip(block.shape, reach.crop, tile.core, shape, strict=True)
        ]
        others[axis] = places
        assert np.array_equal(block, values[np.ix_(*others)])


def particle():
    """A lumpy ball, sharp on one side and blurred on the other, in noise; and its resolution."""
    rng = np.random.default_rng(7)
    z, y, x = (np.mgrid[:EDGE, :EDGE, :EDGE] - EDGE / 2 + 0.5) * VOXEL
    ball = np.sqrt(z**2 + y**2 + x**2) < 28
    atoms = np.where(ball & (rng.random(ball.shape) < 0.05), 7.0, 0.0)
    f = np.fft.fftfreq(EDGE, VOXEL)
    square = f[:, None, None] ** 2 + f[None, :, None] ** 2 + np.fft.rfftfreq(EDGE, VOXEL) ** 2
    spectrum = np.fft.rfftn(atoms)
    sides = [
        np.fft.irfftn(spectrum * np.exp(-b * square / 4), s=ball.shape, axes=(0, 1, 2))
        for b in (60, 400)
    ]
    share = np.clip((x + 6) / 12, 0, 1)
    density = (1 - share) * sides[0] + share * sides[1]
    noise = [0.05 * rng.standard_normal(ball.shape) for _ in range(2)]
    resolution = np.where(ball, 4 + 6 * share, 0.0)
    return [(density + n).astype(np.float32) for n in noise], resolution.astype(np.float32), ball


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deblur")
    halves, resolution, ball = particle()

    def write(name, values):
        with mrcfile.new(folder / name) as file:
            file.set_data(np.asarray(values, np.float32))
            file.voxel_size = VOXEL
            file.header.nxstart = 7
        return str(folder / name)

    return {
        "folder": folder,
        "write": write,
        "map": write("map.mrc", (halves[0] + halves[1]) / 2),
        "half1": write("a_half1.mrc", halves[0]),
        "half2": write("a_half2.mrc", halves[1]),
        "locres": write("locres.mrc", resolution),
        "mask": write("mask.mrc", ball),
        "resolution": resolution,
    }


def sharpened(run):
    return mrcfile.read(run.directory / run.record["outputs"]["sharpened"])


def run_map(files, place, *, parameters=None, locres=None, **options):
    given_options = {"mask": files["mask"], **options}
    return deblur_map(
        files["map"],
        locres or files["locres"],
        parameters or DeblurParameters(iterations=4, change=0.0),
        RunOptions(output=place, **given_options),
    )


@pytest.fixture(scope="module")
def whole(files):
    return run_map(files, files["folder"] / "whole")


@pytest.fixture(scope="module")
def rod(files):
    """A long box, so that few tiles are cut for true along x: map and resolution map."""
    rng = np.random.default_rng(11)
    shape = (40, 40, 200)
    values = rng.standard_normal(shape).astype(np.float32)
    resolution = np.broadcast_to(4 + 6 * np.abs(np.linspace(-1, 1, shape[2])), shape)
    return files["write"]("rod.mrc", values), files["write"]("rod_locres.mrc", resolution)


def run_rod(rod, place, *, parameters=None, **options):
    parameters = parameters or DeblurParameters(iterations=4, change=0.0, snr=50.0)
    return deblur_map(rod[0], rod[1], parameters, RunOptions(output=place, **options))


@pytest.fixture(scope="module")
def cut_rod(files, rod):
    return run_rod(rod, files["folder"] / "cut", tile_vox=40)


def test_tiles_give_the_map_of_the_whole_volume(rod, cut_rod, tmp_path):
    whole = run_rod(rod, tmp_path / "whole")
    halo = max(cut_rod.record["parameters"]["tile_halo_vox"])
    assert 40 + 2 * halo < 0.7 * 200  # else a tile would be the whole box
    difference = sharpened(cut_rod).astype(np.float64) - sharpened(whole)
    # `deblur_plan` derives 0.2 % of the map for each of the four iterations.
    error = np.linalg.norm(difference) / np.linalg.norm(sharpened(whole))
    assert error < 4 * 0.002
    assert error > 0  # they were cut


def test_the_observed_map_and_the_resolution_map_stay_as_they_are(files, tmp_path):
    names = ("map", "locres", "mask")
    before = [Path(files[name]).read_bytes() for name in names]
    run_map(files, tmp_path / "run")
    assert before == [Path(files[name]).read_bytes() for name in names]
    with mrcfile.open(tmp_path / "run" / "map_deblur.mrc") as file:
        assert file.header.nxstart == 7
        assert file.voxel_size.x == pytest.approx(VOXEL)


@pytest.mark.parametrize("mark", [100.0, 200.0, float("nan"), "per pixel"])
def test_backgrounds_and_units_of_other_programs_change_nothing(files, whole, tmp_path, mark):
    resolution = files["resolution"]
    known = resolution > 0
    if mark == "per pixel":
        values = np.where(known, VOXEL / np.maximum(resolution, 1), 0)
    else:
        values = np.where(known, resolution, mark)
    name = files["write"](f"other_{mark}.mrc", values)
    other = run_map(files, tmp_path / "run", locres=name)
    # Frequencies are inverted in float32: one rounding of a resolution moves weights by 1e-7.
    assert np.allclose(sharpened(other), sharpened(whole), rtol=0, atol=1e-5)


def test_amplitudes_near_the_local_resolution_grow_against_low_ones(whole):
    table = np.genfromtxt(
        whole.directory / whole.record["outputs"]["guinier"], delimiter=",", names=True
    )
    ratio = table["amplitude_after"] / table["amplitude_before"]
    f = table["frequency_per_angstrom"]
    near = ratio[(f > 1 / 8) & (f < 1 / 5)].mean()
    low = ratio[(f > 1 / 60) & (f < 1 / 25)].mean()
    assert near > 1.05 * low


def test_the_first_step_changes_a_tenth_of_the_map_without_noise(files, tmp_path):
    run = run_map(files, tmp_path / "run", parameters=DeblurParameters(iterations=1, snr=1e9))
    step = run.record["parameters"]["step"]
    first = run.record["iterations"][0]
    # lambda |H v| = |v| / 10 by definition; blurred is |H v| / |v|.
    assert step * first["blurred"] == pytest.approx(0.1, rel=1e-6)
    assert 0.02 < first["change"] < 0.2


def test_a_stopped_run_goes_on_where_it_stopped(files, whole, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(iteration):
        if iteration.number == 2:
            raise Stop

    original = deblur_run.run_deblur
    monkeypatch.setattr(deblur_run, "run_deblur", lambda *a: original(*a, watch=stop))
    with pytest.raises(Stop):
        run_map(files, tmp_path / "run")
    monkeypatch.setattr(deblur_run, "run_deblur", original)
    names = []
    run_job = deblur.run_job
    monkeypatch.setattr(
        deblur, "run_job", lambda job, **k: names.append(job.name) or run_job(job, **k)
    )
    again = run_map(files, tmp_path / "run", resume=True)
    assert np.array_equal(sharpened(again), sharpened(whole))
    assert names[0] == "deblur iteration 3"  # a plan of one tile: both halves in one job
    assert again.record["iterations"] == whole.record["iterations"]
    kept = sorted(
        path.name for path in (tmp_path / "run/run.zarr/deblur/map").iterdir() if path.is_dir()
    )
    assert kept == ["3", "4"]
    assert map_path(4) == again.record["arrays"]["density"]


@pytest.mark.slow
def test_a_killed_process_goes_on_within_the_iteration_it_was_in(rod, cut_rod, tmp_path):
    place = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "distres.cli.main"),
        *("deblur", rod[0], "--locres", rod[1], "-o", place),
        *("--iterations", "4", "--change", "0", "--snr", "50", "--tile", "40"),
        *("--cluster", "none", "--no-pictures"),
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while not (place / "run.zarr/deblur/residual/2").is_dir():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end, "it never came to its second iteration"
        time.sleep(0.005)
    process.kill()
    assert process.wait() < 0, "it ended before it was killed"
    first = (place / "ledger/deblur_step_1/tiles.jsonl").stat().st_mtime_ns
    again = run_rod(rod, place, tile_vox=40, resume=True)
    assert again.record["iterations"] == cut_rod.record["iterations"]
    assert np.array_equal(sharpened(again), sharpened(cut_rod))
    assert (place / "ledger/deblur_step_1/tiles.jsonl").stat().st_mtime_ns == first


def test_more_iterations_go_on_and_other_settings_are_refused(files, tmp_path):
    place = tmp_path / "run"
    run_map(files, place, parameters=DeblurParameters(iterations=2, change=0.0))
    more = run_map(files, place, resume=True, parameters=DeblurParameters(iterations=3, change=0.0))
    assert len(more.record["iterations"]) == 3
    with pytest.raises(ResumeError, match="k_per_square_angstrom"):
        run_map(
            files,
            place,
            resume=True,
            parameters=DeblurParameters(iterations=3, change=0.0, k_per_square_angstrom=0.05),
        )
    with pytest.raises(ResumeError, match="--iterations 3"):
        run_map(files, place, resume=True, parameters=DeblurParameters(iterations=1, change=0.0))


def test_tiles_of_the_plain_blur_give_the_map_of_the_whole_volume(rod, tmp_path):
    blur = DeblurParameters(model="blur", iterations=1)
    whole = run_rod(rod, tmp_path / "whole", parameters=blur)
    cut = run_rod(rod, tmp_path / "cut", parameters=blur, tile_vox=40)
    halo = max(cut.record["parameters"]["tile_halo_vox"])
    assert 40 + 2 * halo < 0.7 * 200
    difference = sharpened(cut).astype(np.float64) - sharpened(whole)
    # The halo cuts the Wiener filter's kernel at 1 % of it, and what comes from the other side of
    # the block instead is as large: sqrt(2) %. Iterations move the map by 1 % of it, so that
    # cutting them changes nothing that counts.
    assert 0 < np.linalg.norm(difference) < 0.0145 * np.linalg.norm(sharpened(whole))


def test_the_plain_blur_is_undone_where_it_was_put_in(files, tmp_path):
    rng = np.random.default_rng(21)
    n, amplitude = 48, 0.1
    f = np.fft.fftfreq(n, VOXEL)
    square = f[:, None, None] ** 2 + f[None, :, None] ** 2 + np.fft.rfftfreq(n, VOXEL) ** 2
    sharp = np.fft.irfftn(
        np.fft.rfftn(rng.standard_normal((n, n, n))) * (square < 1 / 8.0**2),
        s=(n, n, n),
        axes=(0, 1, 2),
    )
    blurred = np.fft.irfftn(
        np.fft.rfftn(sharp) * amplitude ** (square * 8.0**2), s=(n, n, n), axes=(0, 1, 2)
    )
    run = deblur_map(
        blurred.astype(np.float32),
        np.full((n, n, n), 8.0, np.float32),
        DeblurParameters(model="blur", amplitude=amplitude, snr=100.0),
        RunOptions(output=tmp_path / "run", pixel_size_angstrom=VOXEL),
    )
    # Without noise the Wiener filter leaves h^2 / (h^2 + a^2 / snr) of each amplitude: 99 % at the
    # edge of what the map holds, where h = a, and more below.
    error = np.linalg.norm(sharpened(run) - sharp) / np.linalg.norm(sharp)
    assert error < 0.01
    assert np.linalg.norm(blurred - sharp) > 0.5 * np.linalg.norm(sharp)


@pytest.mark.cluster
def test_workers_give_the_same_bits(rod, cut_rod, tmp_path):
    with open_executor("local", workers=2, memory_bytes=2 * 10**9) as executor:
        shared = run_rod(rod, tmp_path / "shared", tile_vox=40, client=executor.client)
    assert np.array_equal(sharpened(cut_rod), sharpened(shared))


@pytest.mark.parametrize("method", ["localfsc", "monores"])
def test_half_maps_measure_their_own_resolution(files, tmp_path, method):
    run = deblur_halves(
        files["half1"],
        files["half2"],
        method,
        DeblurParameters(iterations=1),
        RunOptions(output=tmp_path / "run", mask=files["mask"]),
    )
    assert (tmp_path / "run" / method / "run.json").is_file()
    assert 3 <= run.record["statistics"]["finest_angstrom"] < 6
    again = deblur_map(
        files["map"],
        tmp_path / "run" / method,
        DeblurParameters(iterations=1),
        RunOptions(output=tmp_path / "again"),
    )
    # The mean of the halves is the map.
    assert np.allclose(sharpened(run), sharpened(again), atol=1e-5)


def test_the_table_of_iterations_has_one_line_each(whole):
    with (whole.directory / whole.record["outputs"]["iterations"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4"]


def test_an_empty_resolution_map_is_refused(files, tmp_path):
    empty = files["write"]("empty.mrc", np.zeros((EDGE,) * 3))
    with pytest.raises(InputError, match="no resolution"):
        run_map(files, tmp_path / "run", locres=empty)


def test_a_density_map_is_no_resolution_map(files, tmp_path):
    with pytest.raises(InputError, match=r"negative numbers in \d\d%"):
        run_map(files, tmp_path / "run", locres=files["half1"])


def test_a_run_without_a_resolution_map_is_refused(files, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"method": "mask", "arrays": {"mask": "mask"}}')
    with pytest.raises(InputError, match="measured no local resolution"):
        run_map(files, tmp_path / "run", locres=other)
    assert not (tmp_path / "run").exists()


def test_another_grid_is_refused_before_anything_is_computed(files, tmp_path):
    other = files["write"]("other.mrc", np.ones((EDGE, EDGE, EDGE - 2)))
    with pytest.raises(InputError):
        run_map(files, tmp_path / "run", locres=other)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"iterations": 0},
        {"change": 1.0},
        {"snr": 0.0},
        {"model": "x"},
        {"k_per_square_angstrom": -1.0},
        {"amplitude": 1.0},
    ],
)
def test_senseless_parameters_are_refused(values):
    with pytest.raises(UsageError):
        DeblurParameters(**values)


def test_k_follows_the_paper():
    assert DeblurParameters().k(5.0) == 0.025
    assert DeblurParameters().k(7.0) == 0.01
    assert DeblurParameters(model="xmipp").k(7.0) == 0.025
    assert DeblurParameters(k_per_square_angstrom=0.04).k(7.0) == 0.04


def test_compat_gives_xmipps_map(shared, tmp_path):
    folder = shared / "oracles/blob128"
    halves = [mrcfile.read(folder / f"half{i}.mrc.gz").astype(np.float32) for i in (1, 2)]
    run = deblur_map(
        (halves[0] + halves[1]) / 2,
        folder / "monores_chimera.mrc.gz",
        DeblurParameters(model="xmipp"),
        RunOptions(output=tmp_path / "run", pixel_size_angstrom=1.0),
    )
    inside = mrcfile.read(folder / "mask.mrc.gz") > 0.5
    expected = mrcfile.read(folder / "localdeblur.mrc.gz").astype(np.float64)[inside]
    found = sharpened(run).astype(np.float64)[inside]
    # The oracle is stored as float16, 11 bits: a correlation of 1 - 1e-7 is all it can show.
    assert np.corrcoef(found, expected)[0, 1] > 0.99999
    assert len(run.record["iterations"]) == 3
    # The scale too, not only the shape.
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=1e-3)
