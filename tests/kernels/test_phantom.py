"""The blob phantom is what its truth says, and any region of it can be made alone."""

import json
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from distres.errors import UsageError
from distres.kernels.blob import BlobSpec
from distres.kernels.noise import Noise, blur_kernel, noise_region, white_region
from distres.kernels.phantom import BlobTruth, blob_halves, blob_region

SHAPE = (48, 56, 52)
NAMES = ("half1", "half2", "mask", "labels", "quadrants")


def frequencies(shape):
    """Cycles per voxel of every coefficient of a real FFT."""
    fz, fy = (np.fft.fftfreq(n) for n in shape[:2])
    return np.sqrt(fz[:, None, None] ** 2 + fy[:, None] ** 2 + np.fft.rfftfreq(shape[2]) ** 2)


def shell_sums(values, shape, width):
    """Sum over shells of `width` cycles/voxel up to Nyquist."""
    shell = np.rint(frequencies(shape) / width).astype(int).ravel()
    return np.bincount(shell, values.ravel())[: int(0.5 / width)]


def expected_fsc(phantom, label, width):
    """FSC that the truth's powers give in whole shells (the curve bends inside them)."""
    truth, shape = phantom.truth, phantom.half1.shape
    k = frequencies(shape)
    signal = truth.signal_power * np.exp(-truth.spec.b_factors[label - 1] * k**2 / 2)
    signal, noise = (shell_sums(v, shape, width) for v in (signal, truth.spec.noise.power(k)))
    return signal / (signal + noise)


def local_fsc(phantom, region, width):
    """FSC under a soft mask well inside a region, one value per shell."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1, 1:-1]
    window = np.clip((depth - 4) / 8, 0, 1)
    window = np.sin(window * np.pi / 2) ** 2
    a, b = (
        np.fft.rfftn((half - np.average(half, weights=window)) * window)
        for half in (phantom.half1, phantom.half2)
    )
    cross, one, two = (
        shell_sums(v, window.shape, width) for v in ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2)
    )
    return cross / np.sqrt(one * two)


@pytest.mark.parametrize("b_factor", [40, 120, 300, 700])
def test_measured_fsc_follows_the_truth_of_each_b_factor(b_factor):
    phantom = blob_halves((96, 96, 96), seed=5, b_factors=(b_factor,) * 4)
    width = 3 / 96
    measured = local_fsc(phantom, phantom.mask > 0, width)[2:]
    true = expected_fsc(phantom, 1, width)[2:]
    # The ball fills a fifth of the box, so shell n holds about 2 pi n^2 27 / 5 independent
    # coefficients: an SD below 0.1 (1 - FSC^2) at n = 2 and 0.03 from n = 6 on. The mask's own
    # spectrum smears a steep curve by up to 0.05.
    assert np.abs(measured - true).max() < 0.1
    assert np.abs(measured - true).mean() < 0.03


def test_measured_fsc_tells_the_quadrants_apart():
    phantom = blob_halves((128, 128, 128), seed=5)
    width = 4 / 128
    for label in (1, 2, 3, 4):
        measured = local_fsc(phantom, phantom.quadrants == label, width)[1:]
        true = expected_fsc(phantom, label, width)[1:]
        # Borders let in a little of the neighbours, whose power differs by orders of magnitude
        # where the curve of a blurred quadrant has fallen; hence the fit where it is high.
        assert np.abs(measured - true)[true > 0.4].mean() < 0.05


@pytest.mark.parametrize(
    ("label", "half", "low"),
    [(1, 2.3515, 2.0), (2, 4.0650, 3.3258), (3, 6.4059, 5.2584), (4, 9.7470, 8.0316)],
)
def test_crossings_lie_where_the_published_pair_has_them(label, half, low):
    truth = BlobTruth(spec=BlobSpec(shape=(128, 128, 128)))
    # That pair's curves use the shell power of its own atoms, which differs by up to 4 % from the
    # expectation used here; resolution moves by half of 4 % / (B k^2 / 2 = 3.7), below 0.6 %.
    assert truth.resolution_angstrom(label, 0.5) == pytest.approx(half, rel=0.006)
    assert truth.resolution_angstrom(label, 0.143) == pytest.approx(low, rel=0.006)


def test_formula_holds_on_the_reference_pair(shared):
    folder = shared / "oracles" / "blob128"
    stored = json.loads((folder / "truth.json").read_text())
    half1, half2, labels = (
        mrcfile.read(folder / f"{name}.mrc.gz").astype(np.float32)
        for name in ("half1", "half2", "labels")
    )
    # That pair's noise is the default here; 2 10^6 voxels: 0.05 %.
    assert Noise().sigma == pytest.approx(stored["sigma"], rel=1e-3)
    assert (half1 - half2).std() / 2**0.5 == pytest.approx(stored["sigma"], rel=2e-3)
    truth = BlobTruth(spec=BlobSpec(shape=(128, 128, 128)))
    pair = SimpleNamespace(half1=half1, half2=half2, truth=truth)
    width = 4 / 128
    for label in (1, 2, 3, 4):
        core = ndimage.binary_dilation(labels == label, iterations=8)
        measured = local_fsc(pair, core, width)[2:]
        true = expected_fsc(pair, label, width)[2:]
        # A core of 10^4 voxels: shell n holds n^2 / 2 coefficients, an SD below 0.2 (1 - FSC^2)
        # at n = 4 and 0.1 (1 - FSC^2) from n = 8 on.
        assert np.abs(measured - true)[true > 0.3].mean() < 0.06


def test_crossing_solves_the_formula():
    truth = BlobTruth(spec=BlobSpec(shape=(64, 64, 64), noise=Noise(sigma=0.3)))
    # FSC = t at S0 exp(-B k^2 / 2) = sigma^2 t / (1 - t).
    for label, b in zip((2, 3, 4), (120, 300, 700), strict=True):
        for t in (0.143, 0.5, 0.7):
            k2 = 2 / b * np.log(truth.signal_power * (1 - t) / (0.09 * t))
            assert truth.resolution_angstrom(label, t) == pytest.approx(k2**-0.5, rel=1e-5)


def test_atoms_have_the_power_that_the_truth_assumes():
    sharp = blob_halves((96, 96, 96), seed=2, b_factors=(0, 0, 0, 0), noise=0)
    inside = sharp.half1[16:80, 16:80, 16:80][sharp.mask[16:80, 16:80, 16:80] > 0]
    # Over 10^5 voxels, kurtosis about 50: the variance's SD is sqrt(50 / 10^5) = 2 %.
    assert inside.var() == pytest.approx(sharp.truth.signal_power, rel=0.07)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_region_alone_equals_the_cut_from_the_whole(data):
    spec = BlobSpec(shape=SHAPE, seed=9, noise=Noise(sigma=0.2, excess=2.0))
    phantom = blob_halves(SHAPE, seed=9, noise=spec.noise)
    region = []
    for n in SHAPE:
        lo = data.draw(st.integers(0, n - 1))
        region.append(slice(lo, data.draw(st.integers(lo + 1, n))))
    part = blob_region(spec, tuple(region))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(part, name), getattr(phantom, name)[tuple(region)])


def test_a_seed_makes_the_same_phantom_and_another_seed_another():
    one, again, other = (blob_halves(SHAPE, seed=s) for s in (1, 1, 2))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert np.corrcoef(one.half1.ravel(), other.half1.ravel())[0, 1] < 0.6
    assert not np.array_equal(one.mask, other.mask)


def test_noise_of_the_halves_is_independent():
    phantom = blob_halves((64, 64, 64), seed=4)
    outside = phantom.mask == 0
    # 2 10^5 voxels: an SD of 0.0022; the blurred rim adds a little common signal.
    assert abs(np.corrcoef(phantom.half1[outside], phantom.half2[outside])[0, 1]) < 0.1
    one = white_region((slice(0, 64),) * 3, seed=4, stream=2)
    two = white_region((slice(0, 64),) * 3, seed=4, stream=4)
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.01


def test_coloured_noise_has_the_spectrum_it_declares():
    noise = Noise(sigma=0.5, excess=8.0, b_factor=200.0)
    edge, voxel, width = 96, 1.5, 4 / 96
    block = noise_region(
        noise, (slice(7, 7 + edge),) * 3, seed=1, stream=3, voxel_size_angstrom=voxel
    )
    power = shell_sums(abs(np.fft.rfftn(block)) ** 2, block.shape, width) / edge**3
    counts = shell_sums(np.ones((edge, edge, edge // 2 + 1)), block.shape, width)
    measured = power / counts
    k = frequencies(block.shape)
    expected = shell_sums(noise.power(k / voxel), block.shape, width) / counts
    # Shell n holds about 2 pi n^2 64 coefficients: 2 % from n = 3; the box edge leaks a little.
    np.testing.assert_allclose(measured[3:], expected[3:], rtol=0.06)


@pytest.mark.parametrize("b_factor", [40, 120, 300, 700])
def test_blur_has_the_spectrum_of_its_b_factor(b_factor):
    kernel = blur_kernel(b_factor, 1.0)
    frequency = np.linspace(0, 0.48, 97)
    offset = np.arange(len(kernel)) - len(kernel) // 2
    transfer = np.cos(2 * np.pi * frequency[:, None] * offset) @ kernel
    # The series' tail beyond 16 voxels is largest for the sharpest blur: 0.042 / n^2 each, whose
    # sum next to Nyquist stays below 2 * 0.042 / 16 / 2.
    np.testing.assert_allclose(transfer, np.exp(-b_factor * frequency**2 / 4), rtol=0, atol=2.6e-3)


def test_cores_keep_their_distance():
    phantom = blob_halves((80, 96, 88), seed=1, voxel_size_angstrom=1.5)
    _, y, x = np.indices(phantom.labels.shape)
    core = phantom.labels > 0
    for axis, centre in ((y, 48), (x, 44)):
        assert 1.5 * np.abs(axis[core] + 0.5 - centre).min() >= 12
    assert set(np.unique(phantom.labels)) == {0, 1, 2, 3, 4}
    assert np.array_equal(phantom.labels[core], phantom.quadrants[core])
    assert np.array_equal(phantom.mask > 0, phantom.quadrants > 0)


def test_truth_is_json():
    text = json.dumps(BlobTruth(spec=BlobSpec(shape=(64, 64, 64))).as_json())
    assert json.loads(text)["quadrants"][0]["resolution_angstrom"]["0.143"] == 2.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (8, 64, 64)},
        {"shape": SHAPE, "voxel_size_angstrom": 0.0},
        {"shape": SHAPE, "b_factors": (1.0, 2.0, -3.0, 4.0)},
        {"shape": SHAPE, "noise": Noise(sigma=-1.0)},
        {"shape": SHAPE, "seed": -1},
    ],
)
def test_impossible_phantoms_are_refused(wrong):
    with pytest.raises(UsageError):
        BlobSpec(**wrong)
