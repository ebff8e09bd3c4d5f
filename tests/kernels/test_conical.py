import numpy as np
import pytest
import scipy.fft

from distres.kernels.cells import Cells, cell_sums
from distres.kernels.conical import (
    Cones,
    bingham_p_values,
    direction_shells,
    occupancy,
    sphericity,
)
from distres.kernels.directions import half_sphere
from distres.kernels.shells import fsc_of_sums, shell_sums, shells_of

CELLS = Cells(rings=24)
CONES = Cones(directions=half_sphere(321), cells=CELLS)


def noise(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def spectra(edge, seed, *, weight=None):
    """Two halves whose signal-to-noise falls with frequency, perhaps by direction."""
    shape = (edge, edge, edge)
    kz, ky = np.fft.fftfreq(edge)[:, None, None], np.fft.fftfreq(edge)[:, None]
    kx = np.fft.rfftfreq(edge)
    square = kz**2 + ky**2 + kx**2
    signal = scipy.fft.rfftn(noise(shape, seed)) * 8 * np.exp(-20 * square)
    if weight is not None:
        signal = signal * weight(np.abs(kz) / np.sqrt(np.maximum(square, 1e-9)))
    return [(signal + scipy.fft.rfftn(noise(shape, seed + i))).astype(np.complex64) for i in (1, 2)]


def curves_of(edge, seed, **given):
    shells = shells_of((edge,) * 3, (1.0, 1.0, 1.0))
    sums = cell_sums(*spectra(edge, seed, **given), shells, CELLS)
    return CONES.curves(sums), sums, shells


def test_every_direction_lies_in_the_nearest_cell_or_beside_it():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = CELLS.directions[CELLS.index(*vectors.T)]
    angle = np.degrees(np.arccos(np.clip(np.abs((found * vectors).sum(axis=1)), 0, 1)))
    # Half a diagonal of a cell of 3.75 degrees, and a little where rings widen.
    assert angle.max() < 3.75 * 0.8


def test_opposites_share_a_cell():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((500, 3))
    np.testing.assert_array_equal(CELLS.index(*vectors.T), CELLS.index(*-vectors.T))


def test_all_cells_together_are_the_shells():
    shells = shells_of((20, 24, 22), (1.0, 1.2, 1.1))
    first, second = (scipy.fft.rfftn(noise((20, 24, 22), s)).astype(np.complex64) for s in (2, 3))
    sums = cell_sums(first, second, shells, CELLS).sum(axis=2)
    np.testing.assert_allclose(sums[:3], shell_sums(first, second, shells)[:, :-1], rtol=1e-5)
    np.testing.assert_array_equal(sums[3], shells.coefficients()[:-1])


def test_isotropic_halves_have_one_curve_in_all_directions():
    curves, sums, _ = curves_of(64, 10)
    everywhere = fsc_of_sums(np.concatenate([sums[:3].sum(axis=2), np.zeros((3, 1))], axis=1))
    # Cones of shells 10 and beyond hold 100 coefficients and more.
    assert np.abs(np.nanmean(curves, axis=0) - everywhere)[10:].max() < 0.05
    share = occupancy(curves, 0.143)
    # Occupancy falls through one half where the curve of all falls through the threshold.
    half = int(np.argmax(share < 0.5))
    crossing = int(np.argmax(everywhere < 0.143))
    assert abs(half - crossing) <= 2


def test_isotropic_halves_are_seldom_called_anisotropic():
    found = []
    for seed in range(8):
        curves, _, _ = curves_of(48, 100 + 10 * seed)
        share = occupancy(curves, 0.143)
        p = bingham_p_values(curves, CONES, 0.143)
        assert (p[share == 1] == 1).all()
        found += list(p[(share > 0.1) & (share < 0.9)])
    # Some 25 shells in transition; one in twenty-five would be called at 0.04.
    assert len(found) > 15
    assert (np.array(found) < 0.01).mean() < 0.2


def test_a_missing_cone_is_found():
    """No signal within 40 degrees of z, as side views alone leave it."""
    curves, _, _ = curves_of(64, 20, weight=lambda c: (c < np.cos(np.radians(40))).astype(float))
    shells = direction_shells(curves, 0.143)
    along_z = CONES.directions[:, 0] > np.cos(np.radians(20))
    across = CONES.directions[:, 0] < np.sin(np.radians(20))
    reach = np.nan_to_num(shells, nan=32)
    assert np.median(reach[along_z]) < 0.5 * np.median(reach[across])
    assert sphericity(CONES.directions, np.maximum(reach, 1), CELLS) < 0.9
    # A cone of 40 degrees is 23 % of all directions; those of 17 within a few degrees of its edge
    # still see signal.
    assert 0.75 < occupancy(curves, 0.143)[12] < 0.95
    p = bingham_p_values(curves, CONES, 0.143)
    assert (p[9:24] < 0.01).all()


def test_isotropic_directions_pass_the_bingham_test_as_often_as_they_should():
    rng = np.random.default_rng(3)
    axes = rng.standard_normal((4000, 60, 3))
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    inertia = np.einsum("sni,snj->sij", axes, axes) / 60
    statistic = 7.5 * 60 * (np.einsum("sij,sij->s", inertia, inertia) - 1 / 3)
    # The constant of the statistic: chi-square with 5 degrees of freedom has mean 5.
    assert statistic.mean() == pytest.approx(5, rel=0.05)
    assert (statistic > 11.07).mean() == pytest.approx(0.05, abs=0.015)


def test_a_sphere_is_a_sphere_and_a_disc_is_not():
    directions = CONES.directions
    assert sphericity(directions, np.ones(len(directions)), CELLS) == pytest.approx(1, abs=0.01)
    flat = 1 / np.sqrt((directions[:, 0] / 0.4) ** 2 + 1 - directions[:, 0] ** 2)
    # An oblate spheroid with axes 1, 1, 0.4 has a sphericity of 0.8525; smoothing rounds it.
    assert sphericity(directions, flat, CELLS) == pytest.approx(0.8525, abs=0.03)
