"""The published algorithm against maps that the published program wrote."""

import gzip

import numpy as np
import pytest
import torch

from distres.errors import InputError
from distres.kernels.monores_published import published_monores


def read(path):
    """Voxels of a gzipped MRC file of mode 0, 2 or 12, without extended header."""
    raw = gzip.decompress(path.read_bytes())
    nx, ny, nz, mode = np.frombuffer(raw, "<i4", 4)
    dtype = {0: "i1", 2: "<f4", 12: "<f2"}[int(mode)]
    return np.frombuffer(raw, dtype, offset=1024).reshape(nz, ny, nx).astype(np.float32)


@pytest.fixture(scope="module")
def blob(shared):
    folder = shared / "oracles" / "blob128"
    halves = [torch.from_numpy(read(folder / f"half{i}.mrc.gz")) for i in (1, 2)]
    mask = torch.from_numpy(read(folder / "mask.mrc.gz")) > 0.5
    return folder, (halves[0] + halves[1]) / 2, (halves[0] - halves[1]) / 2, mask


@pytest.mark.parametrize(
    ("name", "half_maps", "noise_in_mask"),
    [
        ("monores_halves", True, False),
        ("monores_halves_noise_in_mask", True, True),
        ("monores_single", False, False),
    ],
)
def test_the_program_and_we_agree_within_one_step_at_97_voxels_in_100(
    blob, name, half_maps, noise_in_mask
):
    folder, signal, difference, mask = blob
    found = published_monores(
        signal,
        difference if half_maps else None,
        mask,
        voxel_angstrom=1.0,
        low_angstrom=20.0,
        noise_in_mask=noise_in_mask,
    )
    theirs = read(folder / f"{name}.mrc.gz")
    ours = found.resolution.numpy()
    assert np.mean((theirs > 0) == (ours > 0)) > 0.9999
    both = (theirs > 0) & (ours > 0)
    assert np.mean(np.abs(ours - theirs)[both] <= 0.5) >= 0.97
    # What is left differs by float16 rounding of their file: 2**-11 of the value, and ties.
    assert np.mean(np.abs(ours - theirs)[both] <= theirs[both] * 2**-10) >= 0.999


def ball(size, radius):
    axis = np.arange(size) - size // 2
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return torch.from_numpy(squared < radius**2)


def noisy_ball(size=32, seed=0):
    rng = np.random.default_rng(seed)
    mask = ball(size, 8)
    noise = torch.from_numpy(rng.standard_normal((size,) * 3, dtype=np.float32))
    atoms = torch.from_numpy((rng.random((size,) * 3) < 0.1).astype(np.float32)) * 10 * mask
    return atoms + noise, mask


def test_a_masked_map_without_solvent_is_refused():
    signal, mask = noisy_ball()
    with pytest.raises(InputError, match="no solvent lies"):
        published_monores(signal * mask, None, ball(32, 16), voxel_angstrom=1.0, low_angstrom=10.0)


def test_an_empty_mask_is_refused():
    signal, mask = noisy_ball()
    with pytest.raises(InputError, match="mask is empty"):
        published_monores(signal, None, mask & False, voxel_angstrom=1.0, low_angstrom=10.0)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("size", [31, 32])
def test_no_value_is_nan_or_beyond_nyquist(size, gaussian):
    signal, mask = noisy_ball(size)
    found = published_monores(
        signal, None, mask, voxel_angstrom=1.0, low_angstrom=10.0, gaussian=gaussian
    )
    values = found.resolution[found.mask]
    assert bool(torch.isfinite(found.filled).all())
    assert float(values.min()) >= 2.0
    assert float(values.max()) <= float(found.tests[0])


def test_scaling_the_map_changes_nothing():
    signal, mask = noisy_ball()
    one, many = (
        published_monores(signal * factor, None, mask, voxel_angstrom=1.0, low_angstrom=10.0)
        for factor in (1.0, 1024.0)
    )
    torch.testing.assert_close(one.resolution, many.resolution)
