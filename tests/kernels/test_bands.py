import numpy as np
import pytest

from distres.kernels.bands import (
    LEVEL_PASS,
    STEEPEST,
    TABLE_STEPS,
    Band,
    effective_squares,
    mean_square,
    plan_bands,
)


def test_a_band_passes_its_centre_and_nothing_beyond_its_ends() -> None:
    band = Band(centre=0.1, half_octaves=0.7, nyquist=0.5)
    k = np.array([band.bottom, 0.1, band.top, 0.01, 0.4])
    np.testing.assert_allclose(band.response(k), [0, 1, 0, 0, 0], atol=1e-12)


def test_nothing_passes_above_nyquist() -> None:
    band = Band(centre=0.45, half_octaves=0.7, nyquist=0.5)
    assert band.top == 0.5
    assert band.response(0.501) == 0


def test_bands_run_from_low_to_high_and_reach_both_ends() -> None:
    bands = plan_bands(voxel_size=1.5, lowest=1 / 60, levels=4)
    centres = np.array([band.centre for band in bands])
    assert (np.diff(centres) > 0).all()
    assert centres[0] <= 1 / 60
    assert bands[-1].centre * 2 ** (0.5 / 4) == pytest.approx(1 / 3)


def test_every_band_lies_on_the_coarsest_level_that_holds_it() -> None:
    for band in plan_bands(voxel_size=1.0, lowest=1 / 100, levels=3):
        fits = [lv for lv in range(3) if band.top * 2**lv <= LEVEL_PASS or lv == 0]
        assert band.level == max(fits)


def test_bands_of_a_small_volume_are_a_subset_of_those_of_a_large_one() -> None:
    small = {band.centre for band in plan_bands(voxel_size=1.0, lowest=1 / 20)}
    large = {band.centre for band in plan_bands(voxel_size=1.0, lowest=1 / 80)}
    assert small < large


def test_a_range_keeps_one_band_beyond_its_upper_end() -> None:
    bands = plan_bands(voxel_size=1.0, lowest=1 / 40, highest=1 / 8)
    above = [band for band in bands if band.centre > 1 / 8]
    assert 1 <= len(above) <= 2


@pytest.mark.parametrize("steepness", [1.0, 5.0, 12.5, 25.0, 80.0])
def test_the_table_gives_a_decays_own_average(steepness: float) -> None:
    band = Band(centre=0.2, half_octaves=0.7, nyquist=0.5)
    beta = steepness / mean_square(band)
    # The average again, by another rule on another grid: midpoints in log frequency.
    edges = np.geomspace(band.bottom, band.top, 20001)
    k = np.sqrt(edges[1:] * edges[:-1])
    weight = band.response(k) ** 2 * k**2 * np.diff(edges)
    average = (weight * np.exp(-beta * k**2)).sum() / weight.sum()
    table = effective_squares(band)
    place = round(steepness * TABLE_STEPS / STEEPEST)
    assert -np.log(average) / beta == pytest.approx(table[place] * mean_square(band), rel=1e-4)


def test_a_steeper_decay_is_seen_at_a_lower_frequency() -> None:
    table = np.array(effective_squares(Band(centre=0.2, half_octaves=0.7, nyquist=0.5)))
    assert table[0] == 1
    assert (np.diff(table) < 0).all()
