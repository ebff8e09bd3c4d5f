"""Folded spectra against the fields they stand for, at every second place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distres.kernels.folding import folds
from distres.kernels.monogenic import Band, monogenic_amplitude
from distres.kernels.monores import plan_levels, smoothed_amplitude
from distres.kernels.riesz import riesz_block

UNIT = (1.0, 1.0, 1.0)


def random_block(shape):
    return torch.from_numpy(np.random.default_rng(3).standard_normal(shape, dtype=np.float32))


@given(n=st.integers(1, 60), m=st.integers(1, 60))
def test_frequencies_that_look_the_same_on_fewer_places_fall_on_one(n, m):
    seen = []
    for source, target in folds(n, m):
        places, there = np.arange(n)[source], np.arange(m)[target]
        assert len(places) == len(there)
        assert ((places - there) % m == 0).all()
        seen += places.tolist()
    assert seen == list(range(n))


@pytest.mark.parametrize("frequency", [0.15, 0.25, 0.4, 0.5])
@pytest.mark.parametrize("shape", [(24, 36, 40), (8, 64, 30)])
def test_the_folded_amplitude_is_the_amplitude_at_every_second_voxel(frequency, shape):
    """To rounding of float32: sums of some hundred thousand terms, relative to the mean."""
    riesz = riesz_block(random_block(shape), UNIT)
    band = Band.octave(frequency, 0.04)
    half = tuple(n // 2 for n in shape)
    # A band that the half grid holds is not sampled on it: any grid that holds it will do.
    whole = monogenic_amplitude(riesz, Band(start=band.start, low=band.low, high=2.0, stop=2.0))
    some = monogenic_amplitude(
        riesz, Band(start=band.start, low=band.low, high=2.0, stop=2.0), samples=half
    )
    assert tuple(whole.shape) == shape
    assert tuple(some.shape) == half
    error = (some - whole[::2, ::2, ::2]).abs().max()
    assert float(error) < 1e-5 * float(whole.mean())


def test_with_a_stride_the_amplitude_is_smoothed_as_far_as_its_places_hold():
    """A test at 2.5 voxels at every second voxel is smoothed like one at 4.8, and no less."""
    riesz = riesz_block(random_block((48, 48, 48)), UNIT)
    every, second = (plan_levels(np.array([5.0, 2.5]), UNIT, 1, stride)[0] for stride in (1, 2))
    assert every.smoothing_frequency(0.4, UNIT) == 0.4
    assert second.smoothing_frequency(0.4, UNIT) == pytest.approx(0.5 / 1.2 / 2)
    assert second.smoothing_frequency(0.2, UNIT) == 0.2
    fine = smoothed_amplitude(riesz, 0.4, every, (48, 48, 48))
    coarse = smoothed_amplitude(riesz, 0.4, second, second.lattice((48, 48, 48)))
    assert tuple(coarse.shape) == (24, 24, 24)
    # Both smooth the same amplitude, so their means agree: to the scatter of 0.25 of the mean over
    # the 5000 independent values of a half grid, three times.
    assert float(coarse.mean()) == pytest.approx(float(fine.mean()), rel=0.011)
