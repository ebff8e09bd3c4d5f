"""The ramp is ordered for every eye, and colours say the resolutions they stand for."""

import numpy as np
import pytest

from distres.errors import UsageError
from distres.report.colours import (
    RAMP,
    UNRESOLVED,
    Limits,
    colour,
    hex_to_rgb,
    limits_from_percentiles,
)

# Linear-RGB matrices of full colour blindness, Machado, Oliveira, Fernandes (2009), table for 1.0.
BLIND = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


def lightness(rgb, matrix):
    linear = np.array(rgb) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance = np.array([0.2126, 0.7152, 0.0722]) @ np.clip(matrix @ linear.T, 0, 1)
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("eye", BLIND)
def test_lightness_grows_along_the_ramp_for_every_eye(eye):
    steps = np.diff(lightness([hex_to_rgb(c) for c in RAMP], np.array(BLIND[eye])))
    # Two units of CIE lightness are a visible step between neighbouring patches.
    assert steps.min() > 2


def test_high_resolution_is_blue_and_low_is_yellow():
    limits = Limits(high_res=3.0, low_res=7.0)
    fine, poor = colour(np.array([3.0, 7.0]), limits)
    assert fine[2] > fine[0] + 50
    assert min(poor[0], poor[1]) > poor[2] + 50


def test_colours_of_known_resolutions_are_the_ramps():
    limits = Limits(high_res=2.0, low_res=10.0)
    values = np.array([[2, 3, 10], [1, 50, np.nan]], dtype=np.float32)
    painted = colour(values, limits)
    assert painted.shape == (2, 3, 3)
    expected = [RAMP[0], RAMP[1], RAMP[-1], RAMP[0], RAMP[-1], UNRESOLVED]
    assert painted.reshape(-1, 3).tolist() == [list(hex_to_rgb(c)) for c in expected]


@pytest.mark.parametrize(
    ("p2", "p98", "expected"),
    [(2.31, 7.89, (2.0, 8.0)), (3.0, 4.5, (3.0, 4.5)), (4.0, 4.0, (4.0, 4.5))],
)
def test_limits_widen_to_half_angstroms(p2, p98, expected):
    limits = limits_from_percentiles(p2, p98)
    assert (limits.high_res, limits.low_res) == expected


@pytest.mark.parametrize("ends", [(5.0, 5.0), (6.0, 5.0), (float("nan"), 5.0)])
def test_limits_that_are_none_are_refused(ends):
    with pytest.raises(UsageError, match="colour limits"):
        Limits(high_res=ends[0], low_res=ends[1])


@pytest.mark.parametrize("ends", [(2.0, 2.5), (2.5, 8.0), (3.0, 40.0), (10.0, 400.0)])
def test_ticks_are_few_and_hold_both_ends(ends):
    ticks = Limits(high_res=ends[0], low_res=ends[1]).ticks()
    assert (ticks[0], ticks[-1]) == ends
    assert 2 <= len(ticks) <= 9
    assert (np.diff(ticks) > 0).all()
