"""The low-rank operator is the published one, and its adjoint is the true adjoint."""

import numpy as np
import pytest
import torch

from distres.kernels.deblur import LocalBlur, covering_bands, make_bank, released_bands


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


def low_rank(bands, resolution, inside, k=0.025):
    bank = make_bank(
        bands,
        k_per_square_angstrom=k,
        highest_angstrom=float(resolution.min()),
        lowest_angstrom=float(resolution.max()),
        top_per_angstrom=0.87,
    )
    blur = LocalBlur(
        bank,
        torch.from_numpy(resolution.astype(np.float32)),
        torch.from_numpy(inside),
        (1.0, 1.0, 1.0),
    )
    return bank, blur


@pytest.mark.parametrize(
    "make", [lambda: released_bands(32, 1.0, 12.0), lambda: covering_bands(2.0, 20.0, 1 / 32)]
)
def test_few_filters_give_the_published_operator(problem, make):
    block, resolution, inside = problem
    bands = make()
    bank, blur = low_rank(bands, resolution, inside)
    expected = dense_blur(bands, block, resolution, inside, 0.025)
    found = blur.forward(torch.from_numpy(block.astype(np.float32))).numpy()
    assert bank.rank < len(bands.resolution_angstrom)
    # Tables of 2049 resolutions and 8192 radii: linear interpolation errs by step^2/8 times the
    # curvature; for a band half-width of 0.018 and steps of 1e-4 that is 4e-5 of a band's gain.
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


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
    covering = covering_bands(2.0, 45.0, 1 / 256).gain(shells).sum(axis=0)
    assert released[:12].max() < 0.05  # 42 to 15 angstrom: no support
    assert covering.min() > 0.3
