"""The oversharpening scan: choosing B, the verdict, and a whole run on a phantom."""

import csv
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import torch

import distres
from distres.errors import ClusterError, InputError, UsageError
from distres.io.deepres_weights import save_weights
from distres.io.grid import Grid
from distres.kernels.blob import BlobSpec
from distres.kernels.deepres import DeepResConfig, DeepResNetwork
from distres.kernels.guinier import bin_centres
from distres.kernels.phantom import blob_region
from distres.methods.deepres_plan import DeepResParameters
from distres.methods.options import RunOptions
from distres.methods.oversharp import (
    Choice,
    OversharpParameters,
    choose_b,
    guinier_b,
    is_finer,
    verdict,
)
from distres.methods.oversharp_run import choose_edge, compute_oversharp, dry_run
from distres.report.oversharpplot import write_pictures

SCAN = np.array([50.0, 25.0, 0.0, -25.0, -50.0])


def test_b_is_where_the_curves_cross_first_on_the_way_from_blur_to_sharpening():
    found = choose_b(SCAN, np.array([6.0, 5.0, 4.0, 3.0, 5.0]), 3.25)
    assert found == Choice(b_square_angstrom=pytest.approx(-18.75), reached=True)


@pytest.mark.parametrize(("halves", "b"), [(1.0, -50.0), (9.0, 50.0)])
def test_curves_that_do_not_cross_give_the_end_of_the_scan_and_say_so(halves, b):
    found = choose_b(SCAN, np.array([6.0, 5.0, 4.0, 3.5, 3.0]), halves)
    assert found == Choice(b_square_angstrom=b, reached=False)


def test_values_under_which_nothing_was_read_do_not_count():
    found = choose_b(SCAN, np.array([np.nan, 5.0, 4.0, 3.0, np.nan]), 3.5)
    assert found.b_square_angstrom == pytest.approx(-12.5)
    with pytest.raises(UsageError, match="no density"):
        choose_b(SCAN, np.full(5, np.nan), 3.5)


def test_the_scan_holds_the_map_as_it_is_and_both_ends():
    assert OversharpParameters(b_from=60, b_to=-130, b_step=50).scan == (
        *(60.0, 50.0, 0.0),
        *(-50.0, -100.0, -130.0),
    )
    assert OversharpParameters(b_from=0, b_to=-40, b_step=20).scan == (0.0, -20.0, -40.0)


def test_a_scan_without_the_map_as_it_is_is_refused():
    with pytest.raises(UsageError, match="-90 to -10 do not"):
        OversharpParameters(b_from=-10, b_to=-90)


def test_the_guinier_fit_sees_the_signal_and_not_the_noise():
    frequency = bin_centres(0.5)
    signal, noise = np.exp(-110 * frequency**2 / 2), np.full(100, 0.02)
    map_power = (signal + noise) * np.exp(40 * frequency**2 / 2)
    found = guinier_b(map_power, signal + noise, noise, 0.5, 3.0)
    # The map was sharpened by 40 of the 110 by which its signal falls.
    assert found == pytest.approx(-70, abs=0.01)
    assert guinier_b(noise, noise, noise, 0.5, 3.0) is None


@pytest.mark.parametrize(
    ("deepres", "reached", "said"),
    [
        (
            2.8,
            True,
            "over-sharpened: DeepRes reads 2.80 A where its halves support 3.50 A; blur by",
        ),
        (3.45, True, "sharpened as far as its halves support"),
        (4.6, True, "not over-sharpened: DeepRes reads 4.60 A"),
        (4.6, False, "even sharpening by B = -60"),
    ],
)
def test_the_verdict_says_which_side_the_map_is_on(deepres, reached, said):
    b = 40.0 if deepres < 3.4 else -60.0
    words = verdict(
        deepres_angstrom=deepres,
        halves_angstrom=3.5,
        choice=Choice(b_square_angstrom=b, reached=reached),
        guinier=-75.0,
    )
    assert said in words
    assert "Guinier fit asks for B = -75" in words
    assert is_finer(deepres, 3.5) == ("is over-sharpened" in words)


def edge_detector():
    """A network that calls a window finer the more its density curves from voxel to voxel."""
    shape = {"widths": (2, 1, 1, 1, 1, 1), "head": 1}
    network = DeepResNetwork(
        DeepResConfig(voxel_size_angstrom=1.0, range_angstrom=(2.5, 13.0), **shape)
    )
    curvature = torch.zeros(3, 3, 3)
    curvature[1, 1, 1] = 6
    for place in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)):
        curvature[place] = -1
    with torch.no_grad():
        network.trunk[0].weight[:, 0] = torch.stack([curvature, -curvature])
        for layer in network.trunk[1:]:
            layer.weight.fill_(1 / 27)
        # The feature is the mean |curvature| over the rms of the window, divided by sqrt(13).
        network.hidden.weight.fill_(1.0)
        network.hidden.bias.zero_()
        network.answer.weight.fill_(-3.75)
        network.answer.bias[:] = torch.tensor([0.3, 0.0])
    return network


def sharpened(values, b, step):
    frequency = np.meshgrid(*(np.fft.fftfreq(n, step) for n in values.shape), indexing="ij")
    gain = np.exp(-b * sum(f**2 for f in frequency) / 4)
    return np.fft.ifftn(np.fft.fftn(values) * gain).real.astype(np.float32)


def write(path, values, step=1.2):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = step
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A blob phantom blurred everywhere by B = 120, its mean, and its mean after sharpening."""
    folder = tmp_path_factory.mktemp("oversharp")
    spec = BlobSpec(shape=(48, 48, 48), seed=1, voxel_size_angstrom=1.2, b_factors=(120.0,) * 4)
    part = blob_region(spec, (slice(0, 48),) * 3)
    mean = (part.half1 + part.half2) / 2
    network = folder / "edges.safetensors"
    save_weights(edge_detector(), network, {})
    return {
        "half1": write(folder / "p_half1.mrc", part.half1),
        "half2": write(folder / "p_half2.mrc", part.half2),
        "mask": write(folder / "mask.mrc", part.mask),
        "map": write(folder / "map.mrc", mean),
        "sharp": write(folder / "sharp.mrc", sharpened(mean, -30, 1.2)),
        "weights": str(network),
    }


CHOSEN = OversharpParameters(b_from=75, b_to=-100, low_pass_angstrom=3.5, samples=3000)


def scan(files, directory, name="map", **fields):
    options = RunOptions(output=directory, mask=files["mask"], **fields)
    network = DeepResParameters(weights=files["weights"], device="cpu")
    return compute_oversharp(files[name], files["half1"], files["half2"], CHOSEN, network, options)


@pytest.fixture(scope="module")
def done(files, tmp_path_factory):
    return scan(files, tmp_path_factory.mktemp("run") / "run")


def test_the_chosen_b_makes_the_percentiles_coincide(done):
    found = done.record["oversharp"]
    assert found["reached"]
    # Between two values of the scan the curve is taken as straight; a step changes it by 10 %.
    assert found["deepres_at_chosen_b_angstrom"] == pytest.approx(
        found["halves_angstrom"], rel=0.02
    )
    assert (np.diff(found["curve"]["deepres_angstrom"]) < 0).all()
    assert found["places"] > 1000


def test_a_map_that_was_sharpened_already_is_told_to_go_back_by_as_much(files, done, tmp_path):
    sharp = scan(files, tmp_path / "run", "sharp").record["oversharp"]
    plain = done.record["oversharp"]
    # B-factors add up; both are read off straight lines between steps of 25.
    assert sharp["b_square_angstrom"] == pytest.approx(plain["b_square_angstrom"] + 30, abs=3)
    # So does the Guinier fit but for the mask, which is laid on the sharpened map.
    assert sharp["b_guinier_square_angstrom"] == pytest.approx(
        plain["b_guinier_square_angstrom"] + 30, abs=5
    )


def test_the_guinier_fit_finds_the_blur_of_the_phantom(done):
    # B = 120 makes power fall by exp(-B s^2 / 2). Between 10 A and the resolution of the halves
    # the fit has some ten shells, and the ball's own shape bends the first.
    assert done.record["oversharp"]["b_guinier_square_angstrom"] == pytest.approx(-120, abs=15)


def test_the_map_written_is_the_input_under_the_chosen_b(files, done):
    found = done.record["oversharp"]
    written = mrcfile.read(done.directory / done.record["outputs"]["sharpened"])
    wanted = sharpened(mrcfile.read(files["map"]), found["b_square_angstrom"], 1.2)
    spectra = [np.fft.fftn(v) for v in (written, wanted)]
    s = np.meshgrid(*(np.fft.fftfreq(48, 1.2),) * 3, indexing="ij")
    kept = sum(f**2 for f in s) < (0.85 / 3.5) ** 2
    # One tile holds the box and its mirrored halo: below the edge only the faces differ.
    ratio = np.vdot(spectra[1][kept], spectra[0][kept]) / np.vdot(
        spectra[1][kept], spectra[1][kept]
    )
    assert abs(ratio - 1) < 0.01


@pytest.mark.slow
def test_tiles_count_every_place_once_and_find_the_same_b(files, done, tmp_path):
    tiles = scan(files, tmp_path / "run", tile_vox=32).record["oversharp"]
    whole = done.record["oversharp"]
    assert tiles["places"] == whole["places"]
    # Beyond a filter's halo lies half a percent of the rms.
    assert tiles["b_square_angstrom"] == pytest.approx(whole["b_square_angstrom"], abs=2)
    np.testing.assert_allclose(
        tiles["curve"]["median_angstrom"], whole["curve"]["median_angstrom"], rtol=0.01
    )


def test_curve_and_pictures_hold_what_was_found(done, tmp_path):
    with (done.directory / done.record["outputs"]["curve"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["b_square_angstrom"]) for row in rows] == list(CHOSEN.scan)
    svg, png = write_pictures(tmp_path, "x", done.record["oversharp"])
    first = svg.read_bytes()
    write_pictures(tmp_path, "x", done.record["oversharp"])
    assert svg.read_bytes() == first
    assert png.stat().st_size > 10_000


def test_a_finished_scan_is_resumed_without_computing(files, done):
    again = scan(files, done.directory, resume=True)
    assert again.record["oversharp"] == done.record["oversharp"]


def test_the_function_returns_what_the_run_holds(files, done):
    found = distres.oversharp(
        files["map"],
        files["half1"],
        files["half2"],
        files["mask"],
        b_range=(CHOSEN.b_to, CHOSEN.b_from),
        low_pass_angstrom=CHOSEN.low_pass_angstrom,
        samples=CHOSEN.samples,
        weights=files["weights"],
        device="cpu",
        output=done.directory,
        resume=True,
    )
    kept = done.record["oversharp"]
    assert found.attrs["oversharp"] == kept
    assert found.b_square_angstrom.values.tolist() == list(CHOSEN.scan)
    assert found.deepres_angstrom.values.tolist() == kept["curve"]["deepres_angstrom"]
    for role in ("sharpened", "locres"):
        written = mrcfile.read(done.directory / done.record["outputs"][role])
        assert found[role].dims == ("z", "y", "x")
        np.testing.assert_array_equal(np.nan_to_num(found[role].values), written)


def test_a_dry_run_plans_the_halves_and_the_scan_and_leaves_nothing(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = DeepResParameters(weights=files["weights"], device="cpu")
    options = RunOptions(mask=files["mask"], dry_run=True)
    given = (files["map"], files["half1"], files["half2"])
    jobs = [job.job for job in dry_run(*given, CHOSEN, network, options).jobs]
    own = ["oversharp scan", "oversharp check", "oversharp spectra", "oversharp map"]
    assert jobs[-4:] == own
    assert any("localfsc" in job for job in jobs[:-4])
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="cannot plan MonoRes"):
        dry_run(*given, replace(CHOSEN, snr="monores"), network, options)


def test_too_little_memory_is_refused_before_anything_is_read(files, tmp_path):
    with pytest.raises(ClusterError, match="10 MB of memory a worker is too little"):
        scan(files, tmp_path / "run", memory_bytes=10_000_000)
    assert not (tmp_path / "run" / "run.zarr" / "inputs").exists()


def test_by_itself_the_spectrum_ends_where_the_halves_do():
    grid = Grid(shape=(48,) * 3, voxel_size_angstrom=(1.2,) * 3)
    assert 1 / choose_edge(grid, OversharpParameters(), 3.3).stop_per_angstrom == pytest.approx(3.3)
    asked = OversharpParameters(low_pass_angstrom=4.0)
    assert 1 / choose_edge(grid, asked, 3.3).stop_per_angstrom == pytest.approx(4.0)
    for parameters, fsc in ((OversharpParameters(low_pass_angstrom=0.0), 3.3), (CHOSEN, None)):
        wanted = parameters.low_pass_angstrom or 2.4
        assert 1 / choose_edge(grid, parameters, fsc).stop_per_angstrom == pytest.approx(wanted)
    assert 1 / choose_edge(grid, OversharpParameters(), None).stop_per_angstrom == pytest.approx(
        2.4
    )


def test_mistakes_are_refused_before_anything_is_computed(files, tmp_path):
    network = DeepResParameters(weights=files["weights"], device="cpu")
    options = RunOptions(output=tmp_path / "run", mask=files["mask"])
    halves = (files["half1"], files["half2"])
    with pytest.raises(UsageError, match=r"2 A does nothing on voxels that hold 2\.4 A"):
        compute_oversharp(
            files["map"], *halves, OversharpParameters(low_pass_angstrom=2.0), network, options
        )
    with pytest.raises(UsageError, match="leaves only noise"):
        compute_oversharp(
            files["map"],
            *halves,
            OversharpParameters(b_to=-2000.0, low_pass_angstrom=0.0),
            network,
            options,
        )
    other = write(tmp_path / "other.mrc", np.ones((40, 48, 48)))
    with pytest.raises(InputError, match="48"):
        compute_oversharp(other, *halves, OversharpParameters(), network, options)
    assert not (tmp_path / "run" / "run.json").exists()
