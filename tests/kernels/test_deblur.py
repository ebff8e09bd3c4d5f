"""The low-rank operator is the published one, and its adjoint is the true adjoint."""

import numpy as np
import pytest
import torch

from distres.kernels.deblur import LocalBlur
from distres.kernels.deblur_bands import covering_bands, released_bands
from distres.kernels.deblur_bank import make_bank, make_gaussian_bank, reach_angstrom


def dense_blur(bands, block, resolution, inside, k):
    """The published form: every band on its own, weighted and normalised at every voxel."""
    n = block.shape[0]
    z, y = np.fft.fftfreq(n)[:, None, None], np.fft.fftfreq(n)[None, :, None]
    radius = np.sqrt(z**2 + y**2 + np.fft.rfftfreq(n)[None, None, :] ** 2)
    spectrum = np.fft.rfftn(block)
    total, weights = np.zeros_like(block), np.zeros_like(block)
    for r, gain in zip(bands.resolution_angstrom, bands.gain(radius), strict=True):
        weight = np.exp(-k * (r - resolution) ** 2)
        total += weight * np.fft.irfftn(gain * spectrum, s=block.shape, axes=(0, 1, 2))
        weights += weight
    return np.where(inside, total / weights, 0)


@pytest.fixture
def problem():
    rng = np.random.default_rng(5)
    n = 32
    block = rng.standard_normal((n, n, n))
    resolution = 3 + 9 * rng.random((n, n, n))
    inside = rng.random((n, n, n)) > 0.2
    return block, resolution, inside


def low_rank(bands, resolution, inside, k=0.025, **options):
    bank = make_bank(
        bands,
        k_per_square_angstrom=k,
        highest_angstrom=float(resolution.min()),
        lowest_angstrom=float(resolution.max()),
        top_per_angstrom=0.87,
        **options,
    )
    blur = LocalBlur(
        bank,
        torch.from_numpy(resolution.astype(np.float32)),
        torch.from_numpy(inside),
        (1.0, 1.0, 1.0),
    )
    return bank, blur


@pytest.mark.parametrize(
    "make", [lambda: released_bands(32, 1.0, 12.0), lambda: covering_bands(2.0, 20.0, 2 / 32)]
)
def test_few_filters_give_the_published_operator(problem, make):
    block, resolution, inside = problem
    bands = make()
    bank, blur = low_rank(bands, resolution, inside, tolerance=1e-6)
    expected = dense_blur(bands, block, resolution, inside, 0.025)
    found = blur.forward(torch.from_numpy(block.astype(np.float32))).numpy()
    assert bank.rank < len(bands.resolution_angstrom)
    # Tables of 2049 resolutions and 8192 radii: linear interpolation errs by step^2/8 times the
    # curvature; for a band half-width of 0.018 and steps of 1e-4 that is 4e-5 of a band's gain.
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("make", [released_bands, covering_bands])
def test_the_gains_of_fewer_filters_err_by_less_than_a_thousandth(make):
    bands = make(128, 1.0, 20.0) if make is released_bands else make(2.0, 35.0, 1 / 25)
    settings = {
        "k_per_square_angstrom": 0.025,
        "highest_angstrom": 2.0,
        "lowest_angstrom": 19.0,
        "top_per_angstrom": 0.87,
    }
    few, many = make_bank(bands, **settings), make_bank(bands, **settings, tolerance=1e-9)
    gains = [bank.fields.T @ bank.filters for bank in (few, many)]
    assert few.rank < many.rank
    assert np.abs(gains[0] - gains[1]).max() < 1e-3 * gains[1].max()


def test_the_adjoint_is_the_transpose(problem):
    block, resolution, inside = problem
    _, blur = low_rank(released_bands(32, 1.0, 12.0), resolution, inside)
    x = torch.from_numpy(block.astype(np.float32))
    y = torch.from_numpy(np.random.default_rng(9).standard_normal(block.shape).astype(np.float32))
    left = float((blur.forward(x).double() * y).sum())
    right = float((x.double() * blur.adjoint(y)).sum())
    scale = float(blur.forward(x).norm() * y.norm())
    # Both sums add 32^3 float32 products: relative rounding ~ eps * sqrt(32^3) = 2e-5.
    assert abs(left - right) < 2e-5 * scale


def test_constant_resolution_is_one_global_filter(problem):
    block, _, inside = problem
    resolution = np.full(block.shape, 6.0)
    bands = released_bands(32, 1.0, 12.0)
    _, blur = low_rank(bands, resolution, np.ones_like(inside))
    x = torch.from_numpy(block.astype(np.float32))
    shifted = torch.roll(x, (3, 5, 7), (0, 1, 2))
    difference = torch.roll(blur.forward(x), (3, 5, 7), (0, 1, 2)) - blur.forward(shifted)
    assert float(difference.abs().max()) < 1e-5 * float(x.abs().max())


def test_bands_cover_low_resolution_where_the_released_ones_do_not():
    shells = np.arange(6, 126) / 256.0  # 256 voxels of 1 angstrom: 42 to 2.03 angstrom
    released = released_bands(256, 1.0, 20.0).gain(shells).sum(axis=0)
    covering = covering_bands(2.0, 60.0, 2 / 256).gain(shells).sum(axis=0)
    assert released[:12].max() < 0.05  # 42 to 15 angstrom: no support
    assert np.abs(covering - 1).max() < 1e-9  # each band ends where its neighbour peaks


def test_the_reach_holds_all_but_the_tail_of_an_impulse():
    n, tail, k = 96, 0.02, 0.025
    bands = covering_bands(4.0, 25.0, 1 / 12)
    resolution = np.full((n, n, n), 8.0)
    bank, blur = low_rank(bands, resolution, np.ones_like(resolution, bool), k)
    reach = reach_angstrom(bank, tail=tail)
    impulse = torch.zeros((n, n, n))
    impulse[n // 2, n // 2, n // 2] = 1
    kernel = blur.forward(impulse).double().numpy() ** 2
    z, y, x = np.ogrid[:n, :n, :n]
    distance = np.sqrt((z - n // 2) ** 2 + (y - n // 2) ** 2 + (x - n // 2) ** 2)
    outside = np.sqrt(kernel[distance > reach].sum() / kernel.sum())
    # The reach is a whole number of radial steps of 0.57 voxels; the grid is a cube of finite size
    # and its shells are counted by voxel centres: a voxel either way changes the tail by a third.
    assert outside < 1.4 * tail
    nearer = np.sqrt(kernel[distance > 0.6 * reach].sum() / kernel.sum())
    assert nearer > tail


def dense_matrix(bank, resolution, n):
    """H as a matrix: every column is a circulant filter, every row weighted by its voxel."""
    z, y, x = np.meshgrid(*[np.arange(n)] * 3, indexing="ij")
    place = np.stack([z.ravel(), y.ravel(), x.ravel()])
    shift = (place[:, :, None] - place[:, None, :]) % n
    index = np.ravel_multi_index(tuple(shift), (n, n, n))
    f = np.fft.fftfreq(n)
    radius = np.sqrt(
        f[:, None, None] ** 2 + f[None, :, None] ** 2 + np.fft.rfftfreq(n)[None, None, :] ** 2
    )
    matrix = np.zeros((n**3, n**3))
    for gain, field in zip(bank.filters, bank.fields, strict=True):
        kernel = np.fft.irfftn(
            np.interp(radius, bank.radii_per_angstrom, gain), s=(n, n, n), axes=(0, 1, 2)
        )
        weight = np.interp(resolution.ravel(), bank.resolutions_angstrom, field)
        matrix += weight[:, None] * kernel.ravel()[index]
    return matrix


def test_the_wiener_solution_does_not_move():
    n, snr = 12, 20.0
    rng = np.random.default_rng(3)
    observed = rng.standard_normal((n, n, n))
    resolution = 2.5 + 4 * rng.random((n, n, n))
    bank, blur = low_rank(covering_bands(2.0, 15.0, 1 / 10), resolution, np.ones((n, n, n), bool))
    h = dense_matrix(bank, resolution, n)
    wiener = np.linalg.solve(h.T @ h + np.eye(n**3) / snr, h.T @ observed.ravel())
    x = torch.from_numpy(wiener.reshape(n, n, n).astype(np.float32))
    residual = torch.from_numpy(observed.astype(np.float32)) - blur.forward(x)
    pull, damping = blur.adjoint(residual), x / snr
    # At the fixed point both terms are equal: what is left is float32 rounding of either.
    assert float((pull - damping).norm()) < 1e-4 * float(damping.norm())
    # And it is a point that a wrong sign, transpose or scale would not leave alone.
    wrong = blur.forward(residual)
    assert float((wrong - damping).norm()) > 0.05 * float(damping.norm())


def test_the_gaussian_blur_leaves_its_amplitude_at_the_local_resolution():
    n, amplitude, damping = 32, 0.1, 0.03
    wave = torch.cos(2 * torch.pi * torch.arange(n) * 4 / n).expand(n, n, n)  # of 8 voxels
    voxels = torch.ones((n, n, n), dtype=torch.bool)
    for resolution, gain in ((8.0, amplitude), (4.0, amplitude**0.25), (16.0, amplitude**4)):
        settings = {
            "amplitude": amplitude,
            "highest_angstrom": 3.0,
            "lowest_angstrom": 17.0,
            "top_per_angstrom": 0.87,
        }
        field = torch.full((n, n, n), resolution)
        blur = LocalBlur(make_gaussian_bank(**settings), field, voxels, (1.0, 1.0, 1.0))
        # Tables of 1025 radii: step^2 / 8 times the curvature 2 L R^2 = 1200 is 1.1e-4; the rank is
        # cut at 1e-5 of the largest gain.
        assert torch.allclose(blur.forward(wave), gain * wave, atol=2e-4)
        bank = make_gaussian_bank(**settings, damping=damping)
        wiener = LocalBlur(bank, field, voxels, (1.0, 1.0, 1.0)).forward(wave)
        expected = gain / (gain**2 + damping)
        assert torch.allclose(wiener, expected * wave, atol=2e-3 * (1 + expected))
