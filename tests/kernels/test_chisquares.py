import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2

from distres.kernels.chisquares import quantile, upper_tail

WEIGHTS = np.geomspace(1.0, 0.02, 16)


@pytest.mark.parametrize("value", [0.1, 5.0, 16.0, 60.0, 200.0, 500.0])
def test_equal_weights_are_a_chi_square_however_far_out(value):
    assert upper_tail(3 * value, np.full(16, 3.0)) == pytest.approx(chi2.sf(value, 16), rel=1e-9)


@pytest.mark.parametrize("value", [1.0, 4.0, 8.0])
def test_unequal_weights_agree_with_imhof(value):
    def integrand(u):
        angle = 0.5 * np.arctan(WEIGHTS * u).sum() - 0.5 * value * u
        return np.sin(angle) / (u * np.prod((1 + (WEIGHTS * u) ** 2) ** 0.25))

    expected = 0.5 + quad(integrand, 0, 500, limit=3000)[0] / np.pi
    assert upper_tail(value, WEIGHTS) == pytest.approx(expected, abs=1e-7)


def test_unequal_weights_agree_with_simulation():
    rng = np.random.default_rng(0)
    sample = (rng.standard_normal((200_000, 16)) ** 2) @ WEIGHTS
    for value in (3.0, 6.0, 10.0):
        p = upper_tail(value, WEIGHTS)
        # Four binomial standard deviations.
        assert (sample > value).mean() == pytest.approx(p, abs=4 * (p / 200_000) ** 0.5)


@pytest.mark.parametrize("tail", [0.3, 0.05, 1e-6, 1e-14])
def test_the_quantile_inverts_the_tail(tail):
    assert upper_tail(quantile(tail, WEIGHTS), WEIGHTS) == pytest.approx(tail, rel=1e-6)
