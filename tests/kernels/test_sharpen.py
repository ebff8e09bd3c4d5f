"""Sharpening a block: the gain of every frequency, its end, and what reaches past a block."""

import numpy as np
import pytest
import torch

from distres.errors import UsageError
from distres.kernels.sharpen import Edge, Sharpener

EDGE = Edge.ending_at(2.5)


def wave(frequency, n=80, step=1.0):
    """A wave along a diagonal that fits the box, of about the frequency asked for."""
    whole = round(frequency / np.sqrt(3) * n * step)
    z, y, x = np.ogrid[:n, :n, :n]
    values = np.cos(2 * np.pi * whole * (z + y + x) / n).astype(np.float32)
    return torch.from_numpy(values), whole * np.sqrt(3) / (n * step)


@pytest.mark.parametrize("b", [-120.0, 0.0, 60.0])
@pytest.mark.parametrize("frequency", [0.05, 0.15, 0.25, 0.33])
def test_a_wave_is_multiplied_by_the_b_factor(b, frequency):
    block, exact = wave(frequency)
    found = Sharpener(block, (1.0,) * 3, EDGE).sharpened(b)
    assert exact < EDGE.cutoff_per_angstrom * (1 - EDGE.width / 2)
    gain = float(found.abs().max() / block.abs().max())
    assert gain == pytest.approx(np.exp(-b * exact**2 / 4), rel=1e-4)


def test_nothing_is_left_beyond_the_end_whatever_the_gain_would_be():
    block, exact = wave(0.45)
    assert exact > 0.4
    # float32 transforms leave 1e-6 of the wave, and the gain at the end is exp(8).
    assert float(Sharpener(block, (1.0,) * 3, EDGE).sharpened(-200.0).abs().max()) < 1e-6 * np.exp(
        8
    )


def test_b_factors_add_up():
    block = torch.randn(32, 30, 28, generator=torch.Generator().manual_seed(0))
    spacing = (1.0, 1.2, 0.9)
    frequency = [np.fft.fftfreq(n, d) for n, d in zip(block.shape, spacing, strict=True)]
    squared = sum(f**2 for f in np.meshgrid(*frequency, indexing="ij"))
    before = np.fft.ifftn(np.fft.fftn(block.numpy()) * np.exp(30 * squared / 4)).real
    twice = Sharpener(torch.from_numpy(before.astype(np.float32)), spacing, EDGE).sharpened(-40)
    once = Sharpener(block, spacing, EDGE).sharpened(-70)
    assert float((twice - once).abs().max() / once.std()) < 1e-4


def test_beyond_the_halo_lies_less_than_half_a_percent_of_white_noise():
    n = 96
    point = torch.zeros(n, n, n)
    point[n // 2, n // 2, n // 2] = 1
    found = Sharpener(point, (1.0,) * 3, EDGE).sharpened(0.0)
    z, y, x = np.ogrid[:n, :n, :n]
    far = np.maximum(np.maximum(abs(z - n // 2), abs(y - n // 2)), abs(x - n // 2))
    outside = found.numpy()[far > EDGE.halo(1.0)]
    assert np.sqrt((outside**2).sum()) < 0.005 * float(found.square().sum().sqrt())


def test_a_gain_that_leaves_only_noise_is_refused_with_the_strongest_that_works():
    Edge.ending_at(2.0).require(-600.0)
    with pytest.raises(UsageError, match="stay above -640"):
        Edge.ending_at(2.0).require(-700.0)
    with pytest.raises(UsageError, match=r"ends at 1\.00 A"):
        Edge.ending_at(1.0).require(-200.0)
