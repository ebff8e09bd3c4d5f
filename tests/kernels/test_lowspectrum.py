"""Leaving high frequencies out of a transform changes nothing of the low ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.fourier import irfftn, radial_frequency, rfftn
from distres.kernels.halfspectrum import filter_half
from distres.kernels.lowspectrum import LowSpectrum

SPACING = (1.0, 1.5, 2.0)

shapes = st.tuples(*[st.integers(2, 24)] * 3)


def reference(block, gain_of):
    """Filter a block by a radial gain with the transform of the whole."""
    radius = radial_frequency(block.shape, SPACING)
    return irfftn(rfftn(block) * gain_of(radius), block.shape)


@given(shapes, st.floats(0.02, 0.9), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_a_filter_that_ends_early_needs_no_more_than_what_it_passes(shape, top, seed):
    block = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))

    def gain_of(radius):
        return torch.clamp(1 - radius / top, 0, 1)

    low = LowSpectrum(shape, SPACING, top)
    gain = gain_of(low.radius()).to(torch.complex64)
    spectrum = low.forward(block)
    assert spectrum.shape == low.kept
    found = low.inverse(filter_half(spectrum, gain, torch.empty_like(spectrum)))
    # Both add some 10^4 float32 products of size 1: 1e-6 of the largest.
    assert torch.allclose(found, reference(block, gain_of), atol=1e-5)


@pytest.mark.parametrize("n", [12, 13])
def test_only_coefficients_below_the_top_are_kept(n):
    low = LowSpectrum((n, n, n), (1.0, 1.0, 1.0), 3.5 / n)
    assert low.kept == (7, 7, 4)  # 0 to 3 and -3 to -1; along x the half
    assert not low.whole
    assert LowSpectrum((n, n, n), (1.0, 1.0, 1.0), 0.9).whole


def test_a_frequency_on_the_edge_is_kept():
    low = LowSpectrum((20, 20, 20), (1.3, 1.3, 1.3), 4 / (20 * 1.3))
    assert low.octant == (5, 5, 5)
