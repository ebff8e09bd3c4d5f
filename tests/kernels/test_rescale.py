"""Resampling between grids: band limits, positions, and tiles that equal the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.interpolate import apply_matrices
from distres.kernels.rescale import (
    PASS_NYQUIST,
    STOP_NYQUIST,
    rescaling_matrix,
    source_span,
)

VOXELS = [(0.65, 1.0), (1.0, 1.0), (1.05, 1.0), (1.34, 0.5), (0.834, 0.5), (3.54, 1.0), (0.4, 1.0)]


def wave_error(step, target, nyquist_share, phase):
    """Resample a wave of unit amplitude; return the largest error where no face is near."""
    places = range(100, 160)
    first, last = source_span(places, step, target)
    frequency = nyquist_share * 0.5 / max(step, target)
    at = np.arange(first, last) * step
    source = np.cos(2 * np.pi * frequency * at + phase)
    found = rescaling_matrix(places, range(first, last), step, target) @ source
    wanted = np.cos(2 * np.pi * frequency * np.arange(100, 160) * target + phase)
    return np.abs(found - wanted).max(), np.abs(found).max()


@pytest.mark.parametrize(("step", "target"), VOXELS)
def test_waves_in_the_pass_band_keep_amplitude_and_place(step, target):
    # 76 dB: 1.6e-4 of the wave itself and, towards smaller voxels, as much of its mirror image.
    # Three axes in a row then stay near 1e-3.
    for share in (0.0, 0.2, 0.5, 0.8, PASS_NYQUIST):
        assert wave_error(step, target, share, 0.7)[0] < 4e-4


@pytest.mark.parametrize(("step", "target"), [(0.65, 1.0), (0.4, 1.0), (0.4, 0.5)])
def test_waves_beyond_the_coarser_nyquist_fold_nothing_back(step, target):
    highest = max(step, target) / min(step, target)
    for share in np.linspace(STOP_NYQUIST, highest, 7):
        assert wave_error(step, target, share, 0.3)[1] < 4e-4


def test_on_the_same_grid_nothing_changes():
    block = np.random.default_rng(0).standard_normal((9, 10, 11)).astype(np.float32)
    matrices = []
    for n in block.shape:
        first, last = source_span(range(n), 1.0, 1.0)
        matrices.append(
            rescaling_matrix(range(n), range(first, last), 1.0, 1.0)[:, -first : n - first]
        )
    found = apply_matrices(torch.from_numpy(block), [torch.from_numpy(m) for m in matrices])
    # sinc(k) is 0 to 1e-16 at whole numbers.
    assert np.abs(found.numpy() - block).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    step=st.floats(0.3, 4.0),
    target=st.sampled_from([0.5, 1.0]),
    start=st.integers(0, 300),
    count=st.integers(1, 40),
)
def test_a_longer_block_changes_no_weight(step, target, start, count):
    places = range(start, start + count)
    first, last = source_span(places, step, target)
    short = rescaling_matrix(places, range(first, last), step, target)
    long = rescaling_matrix(places, range(first - 13, last + 5), step, target)
    np.testing.assert_array_equal(long[:, 13:-5], short)
    assert not long[:, :13].any()
    assert not long[:, -5:].any()
