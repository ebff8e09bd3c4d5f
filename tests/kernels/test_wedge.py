"""Which frequencies a tilt series has measured."""

import numpy as np
import pytest
import torch

from distres.errors import UsageError
from distres.kernels.monogenic import Band, monogenic_amplitude
from distres.kernels.riesz import riesz_block
from distres.kernels.wedge import Wedge, thin_axis

UNIT = (1.0, 1.0, 1.0)


@pytest.mark.parametrize("shape", [(32, 40, 36), (31, 33, 35), (8, 64, 64)])
@pytest.mark.parametrize(("tilt", "beam"), [("y", "z"), ("x", "z"), ("x", "y"), ("z", "y")])
def test_opposite_frequencies_are_both_kept_or_both_lost(shape, tilt, beam):
    wedge = Wedge(tilt_axis=tilt, beam_axis=beam, low_degrees=-40, high_degrees=62)
    gain = wedge.gain(shape, UNIT).expand(shape)
    opposite = torch.fft.ifftshift(gain)
    opposite = torch.roll(opposite.flip((0, 1, 2)), (1, 1, 1), (0, 1, 2))
    back = torch.fft.fftshift(opposite)
    assert float((gain - back).abs().max()) < 1e-6


def test_the_measured_share_is_that_of_the_tilts():
    wedge = Wedge(low_degrees=-60, high_degrees=60, edge_degrees=0.0)
    gain = wedge.gain((201, 1, 201), UNIT)[:, 0]
    axis = np.arange(201) - 100
    disc = torch.from_numpy(axis[:, None] ** 2 + axis**2 <= 100**2)
    assert float(gain[disc].mean()) == pytest.approx(wedge.measured, abs=0.01)


def test_the_beam_direction_is_lost_and_the_tilt_axis_is_kept():
    gain = Wedge().gain((21, 21, 21), UNIT).expand(21, 21, 21)
    assert float(gain[15, 10, 10]) == 0
    assert float(gain[10, 15, 10]) == 1
    assert float(gain[10, 10, 15]) == 1


def test_waves_in_the_wedge_leave_no_amplitude():
    size = 40
    grid = np.meshgrid(*[np.arange(size) / size] * 3, indexing="ij")
    waves = [np.cos(2 * np.pi * 6 * grid[axis]).astype(np.float32) for axis in range(3)]
    for wave, expected in zip(waves, (0.0, 1.0, 1.0), strict=True):
        riesz = riesz_block(torch.from_numpy(wave), UNIT, Wedge())
        amplitude = monogenic_amplitude(riesz, Band.octave(0.11, 0.02))
        assert float((amplitude - expected).abs().max()) < 1e-3


def test_the_thin_axis_is_the_clearly_shortest_one():
    assert thin_axis((100, 512, 512)) == "z"
    assert thin_axis((512, 100, 480)) == "y"
    assert thin_axis((300, 310, 320)) == "z"


def test_impossible_wedges_are_refused():
    with pytest.raises(UsageError, match="direction of the beam"):
        Wedge(tilt_axis="z")
    with pytest.raises(UsageError, match="-90 to 90"):
        Wedge(low_degrees=10, high_degrees=-10)
    with pytest.raises(UsageError, match="axes are"):
        Wedge(tilt_axis="w")
