import numpy as np
import pytest
import scipy.fft
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import ZarrSource
from distres.engine.run import Run
from distres.errors import ClusterError
from distres.methods.fsc import FscParameters
from distres.methods.fsc_windows import choose_windows, fsc_in_windows, hann

VOXEL = 1.5
# Two blocks of 64 voxels along z and along y fit, and something is left over on every axis.
SHAPE = (140, 130, 70)
# Room for blocks of 64^3 and not for 96^3 (32 bytes a voxel, 400 MB a process, 80 % of it used).
SMALL = Executor(memory_bytes=512_000_000)
LOG_SIGNAL, HALF_B = 3.0, 75.0


def halves(seed, log_signal=LOG_SIGNAL):
    """Atoms everywhere: FSC(k) = S / (S + 1), S = exp(log_signal - 75 k^2)."""
    rng = np.random.default_rng(seed)
    axes = (*(np.fft.fftfreq(n, VOXEL) for n in SHAPE[:2]), np.fft.rfftfreq(SHAPE[2], VOXEL))
    square = sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))
    spectrum = scipy.fft.rfftn(rng.standard_normal(SHAPE))
    signal = scipy.fft.irfftn(spectrum * np.exp((log_signal - HALF_B * square) / 2), s=SHAPE)
    return [(signal + rng.standard_normal(SHAPE)).astype(np.float32) for _ in "12"]


def measure(folder, first, second, executor=SMALL):
    store = str(folder / "in.zarr")
    sources = {}
    for name, values in (("half1", first), ("half2", second)):
        zarr.create_array(store, name=name, data=values, chunks=(64, 64, 64))
        sources[name] = ZarrSource.of(store, name)
    with Run.open(folder / "run") as run:
        return fsc_in_windows(sources, (VOXEL,) * 3, FscParameters(), run, executor)


def test_the_curve_is_the_true_one(tmp_path):
    result = measure(tmp_path, *halves(1))
    assert result.shells.shape == (64, 64, 64)
    k = result.frequency_per_angstrom
    signal = np.exp(LOG_SIGNAL - HALF_B * k**2)
    truth = signal / (signal + 1)
    # SD (1 - rho^2) / sqrt(n) with 4 blocks. A Hann window leaves 18 / 35 of the coefficients of
    # an axis independent. It also smears by a variance of 1 / (3 L^2) an axis, L = 96 A, which
    # moves the signal by at most 1 % where it is steepest, and rho by a quarter of that.
    deviation = (1 - truth**2) * np.sqrt((35 / 18) ** 3 / (4 * result.coefficients))
    error = np.abs(result.curves["unmasked"] - truth)[2:]
    assert (error < 5 * deviation[2:] + 0.0025).all()
    crossing = np.sqrt(HALF_B / (LOG_SIGNAL + np.log(1 / 0.143 - 1)))
    # Near 4 A the curve falls by 0.03 a shell of 1/96 A, and its SD is 0.015: half a shell.
    assert 1 / result.headline.resolution_angstrom == pytest.approx(1 / crossing, abs=2 * 0.5 / 96)
    assert not result.findings


def test_halves_that_share_everything_are_named(tmp_path):
    first, _ = halves(2)
    result = measure(tmp_path, first, first)
    assert "identical-halves" in {found.code for found in result.findings}


def test_halves_without_signal_are_named(tmp_path):
    result = measure(tmp_path, *halves(3, log_signal=-20.0))
    assert {"never-above", "below-noise"} & {found.code for found in result.findings}


def test_a_low_pass_of_both_halves_is_named(tmp_path):
    filtered = []
    for half in halves(4):
        spectrum = scipy.fft.rfftn(half)
        axes = (*(np.fft.fftfreq(n, VOXEL) for n in SHAPE[:2]), np.fft.rfftfreq(SHAPE[2], VOXEL))
        square = sum(a**2 for a in np.meshgrid(*axes, indexing="ij"))
        filtered.append(scipy.fft.irfftn(spectrum * (square < 0.2**2), s=SHAPE).astype("f4"))
    result = measure(tmp_path, *filtered)
    assert "pre-filtered" in {found.code for found in result.findings}


def test_blocks_shrink_with_the_memory_until_it_is_refused():
    edges = [
        choose_windows((500, 300, 90), Executor(memory_bytes=m)).core
        for m in (4_000_000_000, 512_000_000)
    ]
    assert edges == [(256, 256, 90), (64, 64, 64)]
    with pytest.raises(ClusterError, match=r"400 MB of memory.*at least 510 MB"):
        choose_windows((500, 300, 90), Executor(memory_bytes=400_000_000))


@pytest.mark.parametrize("length", [35, 64])
def test_the_window_keeps_the_power_of_noise_and_is_its_own_mirror_image(length):
    window = hann(length)
    assert np.mean(window**2) == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose(window, window[::-1], rtol=1e-5)
