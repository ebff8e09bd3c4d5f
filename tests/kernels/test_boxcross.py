import numpy as np
import pytest
import torch

from distres.kernels.boxcross import (
    NEVER_ABOVE,
    NEVER_BELOW,
    bsoft_resolution,
    degrees_of_freedom,
    effective_threshold,
    first_sustained_crossing,
)
from distres.kernels.boxes import BoxDesign, hann
from distres.kernels.boxfsc import box_fsc

HALF = np.full(8, 0.5)


def crossing(curve, threshold=HALF, start=1):
    shell, flag = first_sustained_crossing(np.float32([curve]), threshold, start=start)
    return float(shell[0]), int(flag[0])


def test_the_crossing_is_interpolated_between_shells():
    assert crossing([1, 1, 0.9, 0.6, 0.2, 0.1, 0, 0]) == (pytest.approx(3.25, abs=1e-6), 0)


def test_a_single_dip_is_not_the_end():
    assert crossing([1, 1, 0.4, 0.9, 0.9, 0.1, 0, 0]) == (pytest.approx(4.5, abs=1e-6), 0)


def test_a_late_peak_is_not_a_return():
    assert crossing([1, 1, 0.9, 0.1, 0, 0, 0.9, 0]) == (pytest.approx(2.5, abs=1e-6), 0)


def test_a_curve_that_starts_below_is_flagged_whatever_comes_later():
    shell, flag = crossing([1, 0.1, 0.1, 0.9, 0.9, 0.9, 0, 0])
    assert np.isnan(shell)
    assert flag == NEVER_ABOVE


def test_a_curve_that_never_falls_reads_its_last_shell():
    assert crossing([1, 1, 1, 1, 1, 1, 1, 0.8]) == (7.0, NEVER_BELOW)


def test_a_fall_in_the_last_shell_counts():
    assert crossing([1, 1, 1, 1, 1, 1, 0.9, 0.1]) == (pytest.approx(6.5, abs=1e-6), 0)


def test_the_threshold_may_change_with_frequency():
    rising = np.array([0, 0.8, 0.8, 0.6, 0.5, 0.4, 0.3, 0.3])
    assert crossing([1, 0.9, 0.9, 0.7, 0.3, 0, 0, 0], rising)[0] == pytest.approx(3 + 1 / 3)


def small_design():
    window = hann(15)
    return BoxDesign(
        windows=(window, window, window),
        pads=(22, 22, 22),
        voxel_size_angstrom=(1.0, 1.0, 1.0),
        finest_angstrom=2.0,
    )


@pytest.mark.parametrize("threshold", [0.5, 0.143])
def test_noise_only_halves_report_no_resolution(threshold):
    d = small_design()
    rng = np.random.default_rng(0)
    half1, half2 = (
        torch.from_numpy(rng.standard_normal((95, 95, 95)).astype(np.float32)) for _ in range(2)
    )
    curves = box_fsc(half1, half2, d, step=8, wanted=np.ones((11, 11, 11), bool))
    limit, start = effective_threshold(threshold, degrees_of_freedom(d))
    _, flags = first_sustained_crossing(curves, limit, start=start)
    # Two shells of at most 2 % each.
    assert (flags == NEVER_ABOVE).mean() >= 0.95


def test_the_effective_threshold_never_falls_below_the_fixed_one():
    freedom = degrees_of_freedom(small_design())
    limit, start = effective_threshold(0.5, freedom)
    assert limit.min() == 0.5
    assert freedom[start] >= 8 > freedom[start - 1]


def test_bsoft_takes_the_last_crossing_and_two_limits():
    curves = np.float32(
        [
            [1, 0.9, 0.1, 0.7, 0.3],  # falls twice: the last counts, at 3.5
            [1, 0.1, 0.1, 0.1, 0.1],  # below everywhere: between shell 0 and 1
            [1, 0.9, 0.9, 0.9, 0.9],  # above everywhere: last shell
            [1, 0.1, 0.9, 0.9, 0.9],  # rises again and stays: last shell
        ]
    )
    found = bsoft_resolution(curves, 0.5, width_per_angstrom=0.1, finest_angstrom=2.6)
    np.testing.assert_allclose(found, [1 / 0.35, 1 / (0.1 * 0.5 / 0.9), 2.6, 2.6], rtol=1e-6)
