import numpy as np
import pytest
import torch

from distres.kernels.bands import Band, plan_bands
from distres.kernels.crossing import CurveModel, find_crossings, sustained_crossing

BANDS = plan_bands(voxel_size=1.0, lowest=1 / 30)
MODEL = CurveModel.of(BANDS)


def wilson_curve(b_factor: float, log_snr: float) -> np.ndarray:
    """FSC of each band for a Wilson decay, averaged over the band as a measurement would be."""

    def average(band: Band) -> float:
        k = np.linspace(band.bottom, band.top, 2001)
        weight = band.response(k) ** 2 * k**2
        return float((weight * np.exp(log_snr - b_factor * k**2 / 2)).sum() / weight.sum())

    snr = np.array([average(band) for band in BANDS])
    return snr / (1 + snr)


def crossing(curve: np.ndarray, threshold: float) -> float:
    tensor = torch.from_numpy(np.asarray(curve, np.float32))[:, None]
    found, _ = find_crossings(tensor, MODEL, torch.full((len(BANDS), 1), threshold))
    return float(found[0])


@pytest.mark.parametrize("threshold", [0.143, 0.3, 0.5])
@pytest.mark.parametrize(
    ("b_factor", "log_snr"), [(120, 3.5), (300, 3.5), (700, 3.5), (700, 8.0), (90, 2.0)]
)
def test_a_wilson_decay_crosses_where_it_does(
    b_factor: float, log_snr: float, threshold: float
) -> None:
    goal = np.log(threshold / (1 - threshold))
    truth = np.sqrt(2 * (log_snr - goal) / b_factor)
    # The model is exact here; what is left is how far eight rounds of fitting come.
    assert crossing(wilson_curve(b_factor, log_snr), threshold) == pytest.approx(truth, rel=7e-3)


def test_a_curve_below_the_threshold_has_no_crossing() -> None:
    assert np.isnan(crossing(np.full(len(BANDS), 0.1), 0.143))


def test_a_curve_above_the_threshold_reaches_nyquist() -> None:
    assert crossing(np.full(len(BANDS), 0.4), 0.143) == 0.5


def test_one_band_below_does_not_end_a_curve_that_goes_on_above() -> None:
    curve = np.full(len(BANDS), 0.9)
    curve[4] = 0.2
    curve[10:] = 0.0
    assert crossing(curve, 0.5) > BANDS[8].centre


def test_a_band_far_beyond_does_not_revive_a_dead_curve() -> None:
    curve = np.full(len(BANDS), 0.0)
    curve[:5] = 0.9
    curve[-3] = 0.6
    assert BANDS[4].centre < crossing(curve, 0.5) < BANDS[6].centre


def test_the_threshold_in_force_is_that_of_the_band() -> None:
    levels = torch.linspace(0.3, 0.1, len(BANDS))[:, None]
    curve = torch.from_numpy(wilson_curve(300, 3.5).astype(np.float32))[:, None]
    _, level = find_crossings(curve, MODEL, levels)
    assert 0.1 < float(level[0]) < 0.3


def test_the_fit_halves_the_error_of_a_noisy_curve() -> None:
    curve = wilson_curve(700, 3.5)
    truth = np.sqrt(2 * (3.5 - np.log(0.143 / 0.857)) / 700)
    noise = np.random.default_rng(3).normal(0, 0.06, (len(BANDS), 4000))
    noisy = torch.from_numpy((curve[:, None] + noise).astype(np.float32))
    level = torch.full((len(BANDS), 1), 0.143)
    raw, _ = sustained_crossing(noisy, MODEL, level)
    fitted, _ = find_crossings(noisy, MODEL, level)
    errors = [np.log(f.numpy() / truth) for f in (raw, fitted)]
    # One band alone knows the crossing to 0.06 / (dC / d ln k) = 0.06 / 1.3 = 4.6 %, and the raw
    # crossing reads a falling signal as finer than it is.
    assert np.sqrt(np.mean(errors[1] ** 2)) < 0.5 * np.sqrt(np.mean(errors[0] ** 2))
    assert abs(np.median(errors[1])) < 0.01


def test_a_lower_threshold_is_crossed_at_a_higher_frequency() -> None:
    curve = wilson_curve(300, 3.5)
    assert crossing(curve, 0.143) > crossing(curve, 0.3) > crossing(curve, 0.5)


def test_every_curve_may_have_its_own_threshold() -> None:
    curve = torch.from_numpy(wilson_curve(300, 3.5).astype(np.float32))
    both = torch.stack([curve, curve], dim=1)
    levels = torch.tensor([0.143, 0.5]).expand(len(BANDS), 2)
    found, level = find_crossings(both, MODEL, levels)
    assert found[0] > found[1]
    torch.testing.assert_close(level, torch.tensor([0.143, 0.5]))


def test_a_first_band_that_is_lucky_by_a_little_is_not_a_signal() -> None:
    curve = np.zeros(len(BANDS))
    curve[:2] = 0.16, 0.05
    assert np.isnan(crossing(curve, 0.143))
    curve[:4] = 0.8, 0.6, 0.4, 0.2
    assert np.isfinite(crossing(curve, 0.143))
