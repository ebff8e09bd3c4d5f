"""Arrays in, Dataset out."""

import numpy as np
import pytest
import torch

import distres
from distres.errors import UsageError


@pytest.fixture(scope="module")
def pair():
    edge = 40
    rng = np.random.default_rng(0)
    k = np.meshgrid(*(np.fft.fftfreq(edge) for _ in range(3)), indexing="ij")
    fall = np.exp(-25 * sum(a**2 for a in k))
    signal = np.fft.ifftn(np.fft.fftn(rng.standard_normal((edge,) * 3)) * fall).real * 20
    mask = np.zeros(signal.shape, np.float32)
    mask[8:-8, 8:-8, 8:-8] = 1
    return [(signal + rng.standard_normal(signal.shape)).astype(np.float32) for _ in "12"], mask


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda *a, **k: distres.blocres(*a, **k), {"box_vox": 11, "step_vox": 4}),
        (
            lambda *a, **k: distres.relion_locres(*a, **k),
            {"sampling_angstrom": 12.0, "radius_angstrom": 6.0, "edge_angstrom": 4.0},
        ),
        (
            lambda *a, **k: distres.resmap(*a, **k),
            {"finest_angstrom": 5.0, "coarsest_angstrom": 9.0, "step_angstrom": 4.0},
        ),
    ],
)
def test_arrays_give_a_dataset_in_angstrom(pair, function, given):
    halves, mask = pair
    found = function(*halves, mask, pixel_size=1.5, **given)
    inside = found["locres"].values[0][mask > 0]
    assert np.isfinite(inside).mean() > 0.8
    assert np.nanmin(inside) >= 3.0
    assert np.isnan(found["locres"].values[0][mask == 0]).all()
    np.testing.assert_allclose(found["x"].values[:2], [0, 1.5])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["localfsc", "blocres", "relion_locres", "resmap", "monodir"])
def test_a_device_that_is_not_here_is_refused_in_a_sentence(pair, name):
    halves, mask = pair
    with pytest.raises(UsageError, match="needs an NVIDIA GPU"):
        getattr(distres, name)(*halves, mask, pixel_size=1.5, device="cuda")
