"""Slab phantoms are written whole, and their particles' FSC is the one their truth gives."""

import json

import mrcfile
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from distres.cli.phantom import register
from distres.errors import UsageError
from distres.io.halves import open_halves
from distres.kernels.slab import wedge_kept
from distres.methods.phantom_particle import SlabParameters
from distres.methods.phantom_slab import write_slab


def test_fsc_of_particles_follows_the_truth_among_measured_frequencies(tmp_path):
    parameters = SlabParameters(
        shape=(96, 192, 192), ice=0.9, filling=1.0, depth_gain=0.0, edge_gain=0.0, snr=0.5, seed=1
    )
    files = write_slab(parameters, tmp_path)
    even, odd, labels = (mrcfile.read(files.volumes[r]) for r in ("even", "odd", "labels"))
    # The wedge smears particles beyond their outline; the truth is that of whole particles
    # against the noise of their own volume, so sum powers over the box and scale the noise.
    particles = len(files.truth["particles_zyx_template"])
    share = particles * files.truth["particle_volume_vox"] / labels.size
    # The mask follows the lumps' outline on whole voxels: half a voxel of a radius of 10.
    assert share == pytest.approx((labels == 2).mean(), rel=0.15)
    a, b = np.fft.rfftn(even), np.fft.rfftn(odd)
    kept = np.broadcast_to(wedge_kept(parameters.spec(1.0))[:, None, :], a.shape)
    fz, fy, fx = np.fft.fftfreq(96), np.fft.fftfreq(192), np.fft.rfftfreq(192)
    k = np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + fx**2)
    shell = np.rint(k / 0.03).astype(int)
    cross, noise = (
        np.bincount(shell[kept], v[kept])[4:16] for v in ((a * b.conj()).real, abs(a - b) ** 2 / 2)
    )
    # Summed signal over summed noise: SDs below 2 % of noise from these 10^4 and more terms.
    measured = cross / (cross + noise * share)
    signal = np.interp(
        0.03 * np.arange(4, 16) / 8,
        files.truth["signal_power"]["frequency_per_angstrom"],
        files.truth["signal_power"]["power"],
    )
    true = signal / (signal + files.truth["noise"]["sigma"] ** 2)
    assert np.abs(measured - true).max() < 0.05
    assert np.abs(measured - true).mean() < 0.025


def test_truth_map_is_coarser_where_noise_is_stronger(tmp_path):
    files = write_slab(SlabParameters(shape=(64, 128, 128), ice=0.9, seed=2), tmp_path)
    truth, labels, sd = (
        mrcfile.read(files.volumes[r]) for r in ("truth_0.5", "labels", "noise_sd")
    )
    particle = labels == 2
    assert np.all(truth[~particle] == 0)
    assert np.all(truth[particle] >= 16)
    order = np.argsort(sd[particle])
    assert np.all(np.diff(truth[particle][order]) >= -1e-3)
    assert truth[particle].max() > 1.1 * truth[particle].min()


def test_even_and_odd_are_found_as_a_pair(tmp_path):
    files = write_slab(SlabParameters(shape=(48, 64, 64), ice=0.9), tmp_path)
    pair = open_halves(str(files.volumes["odd"]))
    assert pair.first.path == str(files.volumes["even"])
    assert pair.second.path == str(files.volumes["odd"])


def test_slab_command_takes_a_structure(tmp_path):
    rng = np.random.default_rng(0)
    line = "ATOM  {:5d}  C   ALA A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 30.00           C"
    points = rng.uniform(-30, 30, (500, 3))
    path = tmp_path / "particle.pdb"
    path.write_text("\n".join(line.format(i, i, *p) for i, p in enumerate(points)) + "\nEND\n")
    app = typer.Typer()
    register(app)
    words = [
        "phantom", "slab", str(path), "--shape", "64,48,40", "--tilt-range", "-50", "50",
        "--orientations", "3", "--seed", "5", "-o", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["shape"] == [40, 48, 64]
    assert said["structure"] == "particle.pdb"
    assert {p[3] for p in said["particles_zyx_template"]} <= {0, 1, 2}
    assert mrcfile.read(said["files"]["even"]).shape == (40, 48, 64)
    for wrong in (["--tilt-range", "50", "-50"], ["--voxel-size", "-1"], ["--shape", "16"]):
        refused = CliRunner().invoke(app, [*words[:-3], "-o", str(tmp_path / "no"), *wrong])
        assert isinstance(refused.exception, UsageError), refused.output
    assert not (tmp_path / "no").exists()


def test_same_seed_same_slab(tmp_path):
    parameters = SlabParameters(shape=(48, 64, 64), ice=0.9, seed=7)
    one, two = (write_slab(parameters, tmp_path / name) for name in ("a", "b"))
    for role, path in one.volumes.items():
        np.testing.assert_array_equal(mrcfile.read(path), mrcfile.read(two.volumes[role]), role)


def test_blobs_that_no_voxel_resolves_are_refused():
    with pytest.raises(UsageError, match="smaller than four voxels"):
        SlabParameters(diameter_angstrom=20.0)
