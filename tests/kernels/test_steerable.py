import gzip
from itertools import product

import mrcfile
import numpy as np
import pytest
import torch

from distres.kernels.discovery import BINS, TailBins, benjamini_yekutieli, count_places
from distres.kernels.steerable import Sinusoid, fit_gain, noise_variances, window_gains

CUBIC = (1.0, 1.0, 1.0)
GOLDEN = (1 + 5**0.5) / 2


def noise(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def published_basis(sinusoid):
    """The seventeen columns and the weight, written out over the window as the paper has them."""
    scale = 2 * np.pi / sinusoid.wavelength_angstrom * np.sqrt(2 / 5)
    axes = [
        scale * a * np.arange(-r, r + 1)
        for r, a in zip(sinusoid.radius, sinusoid.voxel_size_angstrom, strict=True)
    ]
    u = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    weight = np.exp(-sinusoid.kappa * (u**2).sum(axis=1))
    one = np.ones((len(u), 1))
    plus = [np.roll([0, 1, GOLDEN], s) for s in range(3)]
    minus = [np.roll([0, 1, -GOLDEN], s) for s in range(3)]
    icosahedron = np.array(plus + minus) / np.hypot(1, GOLDEN)
    even = 4 * (u @ icosahedron.T) ** 2 - 2
    corners = np.array(list(product((-1, 1), repeat=3)))[:4] / 3**0.5
    ten = np.concatenate([icosahedron, corners])
    t = u @ ten.T
    return one, np.concatenate([even, t**3 - 2.254 * t], axis=1), weight


def weighted_residual(block, columns, weight):
    root = np.sqrt(weight)
    fit, *_ = np.linalg.lstsq(columns * root[:, None], block * root, rcond=None)
    return ((block * root - columns @ fit * root) ** 2).sum()


@pytest.mark.parametrize("kappa", [0.5, 1.0])
@pytest.mark.parametrize(
    ("wavelength", "voxel"), [(2.2, CUBIC), (4.0, CUBIC), (6.3, CUBIC), (6.0, (2.0, 1.5, 1.0))]
)
def test_the_gain_equals_dense_least_squares(wavelength, voxel, kappa):
    s = Sinusoid(wavelength_angstrom=wavelength, voxel_size_angstrom=voxel, kappa=kappa)
    one, rest, weight = published_basis(s)
    shape = tuple(2 * r + n for r, n in zip(s.radius, (3, 2, 4), strict=True))
    block = noise(shape, 0) + 1
    gain = fit_gain(torch.from_numpy(block), s).numpy()
    for place in np.ndindex(gain.shape):
        part = block[tuple(slice(i, i + 2 * r + 1) for i, r in zip(place, s.radius, strict=True))]
        y = part.astype(float).ravel()
        constant = weighted_residual(y, one, weight)
        expected = constant - weighted_residual(y, np.concatenate([one, rest], axis=1), weight)
        assert gain[place] == pytest.approx(expected, abs=1e-5 * constant)


def test_an_offset_of_the_map_changes_nothing():
    s = Sinusoid(wavelength_angstrom=5.0, voxel_size_angstrom=CUBIC)
    block = noise((20, 20, 20), 1)
    plain = fit_gain(torch.from_numpy(block), s)
    moved = fit_gain(torch.from_numpy(block + 3), s)
    # float32 moments of an offset of 3 over about 100 weighted voxels.
    torch.testing.assert_close(moved, plain, atol=1e-4, rtol=1e-4)


def test_blocks_give_what_the_whole_volume_gives():
    s = Sinusoid(wavelength_angstrom=7.0, voxel_size_angstrom=CUBIC)
    r = s.radius[0]
    volume = torch.from_numpy(noise((40, 41, 43), 2))
    whole = fit_gain(volume, s)
    part = fit_gain(volume[7 : 7 + 12 + 2 * r, 3 : 3 + 9 + 2 * r, 11 : 11 + 10 + 2 * r], s)
    # The same sums in the same order, up to the last bit of float32 sums of squares near 2.
    torch.testing.assert_close(part, whole[7:19, 3:12, 11:21], atol=4e-6, rtol=2e-6)


@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_white_noise_has_the_null_mean_and_variance(kappa):
    s = Sinusoid(wavelength_angstrom=4.0, voxel_size_angstrom=CUBIC, kappa=kappa)
    gain = fit_gain(torch.from_numpy(noise((100, 100, 100), 3)), s).double()
    # 96^3 voxels hold about 96^3 / 5^3 = 7000 independent windows: 1.2 % per unit of relative
    # spread, which is about 0.4 for T and 1.2 for its square; four sigma.
    assert gain.mean().item() == pytest.approx(s.null_weights.sum(), rel=0.02)
    assert gain.var().item() == pytest.approx(2 * (s.null_weights**2).sum(), rel=0.06)


def test_single_windows_have_the_gain_of_their_middle():
    s = Sinusoid(wavelength_angstrom=5.0, voxel_size_angstrom=CUBIC)
    edge = 2 * s.radius[0] + 1
    windows = torch.from_numpy(noise((4, edge, edge, edge), 8))
    expected = [fit_gain(w, s).item() for w in windows]
    np.testing.assert_allclose(window_gains(windows, s), expected, rtol=1e-4)


@pytest.mark.parametrize("wavelength", [2.2, 4.0, 6.0])
def test_noise_variance_is_unbiased_on_white_noise(wavelength):
    s = Sinusoid(wavelength_angstrom=wavelength, voxel_size_angstrom=CUBIC)
    edge = 2 * s.radius[0] + 1
    windows = 2.0 * noise((2000, edge, edge, edge), 4) + 7
    found = noise_variances(torch.from_numpy(windows), s)
    assert found.mean() == pytest.approx(4.0, abs=4 * found.std() / 2000**0.5)


def test_published_noise_variance_equals_the_dense_form():
    s = Sinusoid(wavelength_angstrom=5.0, voxel_size_angstrom=CUBIC, kappa=1.0)
    edge = 2 * s.radius[0] + 1
    windows = noise((5, edge, edge, edge), 5) + 2
    _, rest, weight = published_basis(s)
    weighted = rest * weight[:, None]
    form = np.diag(weight) - weighted @ np.linalg.solve(rest.T @ weighted, weighted.T)
    q = windows.reshape(5, -1).astype(float)
    q -= q.mean(axis=1, keepdims=True)
    expected = np.einsum("ni,ij,nj->n", q, form, q) / np.trace(form)
    found = noise_variances(torch.from_numpy(windows), s, published=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def resolve(mean, difference, mask, wavelengths, *, kappa, published):
    """ResMap in a few lines, whole volume, one noise variance for all."""
    left, found = mask.copy(), np.full(mean.shape, 100, np.float32)
    for wavelength in wavelengths:
        s = Sinusoid(wavelength_angstrom=wavelength, voxel_size_angstrom=CUBIC, kappa=kappa)
        edge = 2 * s.radius[0] + 1
        windows = {}
        for name, volume in (("noise", difference), ("mask", mask)):
            number = len(volume) // edge
            cut = volume[: number * edge, : number * edge, : number * edge]
            cut = cut.reshape(number, edge, number, edge, number, edge)
            windows[name] = cut.transpose(0, 2, 4, 1, 3, 5)
        inside = windows["mask"].all(axis=(3, 4, 5))
        noisy = torch.from_numpy(windows["noise"][inside])
        variance = noise_variances(noisy, s, published=published).mean()
        padded = torch.from_numpy(np.pad(mean, s.radius[0]))
        statistic = fit_gain(padded, s).numpy() / np.float32(variance)
        bins = TailBins.of(s.null_weights, 0.05)
        places = bins.place(statistic)
        counts = count_places(places[left])
        limit = benjamini_yekutieli(counts, int(left.sum()), bins, s.null_weights, 0.05)
        called = left & (places >= (BINS + 1 if limit is None else limit))
        found[called] = wavelength
        left &= ~called
    return found


@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_on_white_noise_the_called_share_is_at_most_the_rate(kappa):
    half1, half2 = noise((64, 64, 64), 6), noise((64, 64, 64), 7)
    mask = np.zeros((64, 64, 64), bool)
    mask[6:-6, 6:-6, 6:-6] = True
    found = resolve(
        (half1 + half2) / 2, (half1 - half2) / 2, mask, (2.2, 3.0, 4.2, 6.0, 9.0),
        kappa=kappa, published=False,
    )  # fmt: skip
    assert (found[mask] < 100).mean() <= 0.05


@pytest.mark.slow
def test_published_settings_agree_with_resmap(shared):
    def read(name):
        with gzip.open(shared / "oracles" / "blob128" / f"{name}.mrc.gz") as stream:
            return np.array(mrcfile.mrcinterpreter.MrcInterpreter(stream).data, np.float32)

    half1, half2, mask, oracle = (read(n) for n in ("half1", "half2", "mask", "resmap"))
    inside = np.zeros(mask.shape, bool)
    inside[9:-9, 9:-9, 9:-9] = mask[9:-9, 9:-9, 9:-9] > 0
    wavelengths = np.arange(2.2, 9.3)
    found = resolve(
        (half1 + half2) / 2, (half1 - half2) / 2, inside, wavelengths, kappa=1.0, published=True
    )
    assert (np.abs(found - oracle)[inside] < 1.1).mean() > 0.99
    assert (np.abs(found - oracle)[inside] < 0.1).mean() > 0.97
