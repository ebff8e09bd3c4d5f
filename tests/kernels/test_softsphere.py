import gzip

import mrcfile
import numpy as np
import pytest
import scipy.fft
import torch

from distres.kernels.randomise import randomise_phases
from distres.kernels.shells import Shells
from distres.kernels.softsphere import (
    SphereDesign,
    blend,
    corrected_curves,
    last_shell_above,
    sphere_centres,
    sphere_fsc,
)


def noise(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def smooth(shape, seed):
    spectrum = scipy.fft.rfftn(noise(shape, seed))
    frequency = np.sqrt(
        np.fft.fftfreq(shape[0])[:, None, None] ** 2
        + np.fft.fftfreq(shape[1])[:, None] ** 2
        + np.fft.rfftfreq(shape[2]) ** 2
    )
    return scipy.fft.irfftn(spectrum * np.exp(-30 * frequency**2), s=shape).astype(np.float32)


def whole_box_curve(half1, half2, design, centre):
    """What the crop stands for: the mask in the whole box, shells by nearest radius."""
    n = half1.shape[0]
    mask = np.zeros_like(half1)
    part = tuple(slice(c - design.reach, c + design.reach + 1) for c in centre)
    mask[part] = design.mask
    a, b = (np.fft.fftn(h * mask) for h in (half1, half2))
    k = np.fft.fftfreq(n, 1 / n)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()

    def sums(values):
        return np.bincount(shell, values.ravel(), 2 * n)[: n // 2 + 1]

    return sums((a * b.conj()).real) / np.sqrt(sums(abs(a) ** 2) * sums(abs(b) ** 2))


def test_the_crop_gives_the_curve_of_the_whole_box():
    shape = (96, 96, 96)
    common = 3 * smooth(shape, 0)
    half1, half2 = common + noise(shape, 1), common + noise(shape, 2)
    design = SphereDesign(
        radius_angstrom=8.0, edge_angstrom=8.0, voxel_size_angstrom=1.0, shape=shape
    )
    centres = np.array([[48, 48, 48], [30, 60, 40], [17, 77, 50]])
    curves = sphere_fsc(
        torch.from_numpy(half1), torch.from_numpy(half2), design, centres - design.reach
    )
    for curve, centre in zip(curves, centres, strict=True):
        expected = whole_box_curve(half1, half2, design, centre)
        # Shells are blurred by one spacing of the crop; the curve changes over two of them.
        np.testing.assert_allclose(curve[2:], expected[2:], atol=0.05)
        assert np.abs(curve - expected)[2:].mean() < 0.01


def test_a_constant_resolution_blends_to_itself():
    shape = (60, 60, 60)
    design = SphereDesign(
        radius_angstrom=5.0, edge_angstrom=5.0, voxel_size_angstrom=1.0, shape=shape
    )
    centres = sphere_centres(shape, 5, 5.0)
    padded = np.array(shape) + 2 * design.reach
    blended = blend(centres, np.full(len(centres), 4.0), design, padded)
    assert np.nanmin(blended) == pytest.approx(4.0)
    assert np.nanmax(blended) == pytest.approx(4.0)
    assert np.isnan(blended[0, 0, 0])


def test_two_resolutions_blend_harmonically():
    design = SphereDesign(
        radius_angstrom=3.0, edge_angstrom=0.0, voxel_size_angstrom=1.0, shape=(20, 20, 20)
    )
    starts = np.array([[0, 0, 0], [0, 0, 2]])
    blended = blend(starts, np.array([2.0, 6.0]), design, (7, 7, 9))
    assert blended[3, 3, 4] == pytest.approx(3.0)


def test_the_shell_is_the_last_one_above():
    curves = np.float32([[1, 0.9, 0.5, 0.1, 0.9], [1, 0.9, 0.9, 0.9, 0.9], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(last_shell_above(curves), [2, 4, 0])


def test_correction_starts_two_shells_beyond_the_random_phases():
    masked, randomised = np.full((1, 6), 0.6, np.float32), np.full((1, 6), 0.2, np.float32)
    corrected = corrected_curves(masked, randomised, 2)
    np.testing.assert_allclose(corrected[0], [0.6, 0.6, 0.6, 0.6, 0.5, 0.5], rtol=1e-6)


@pytest.mark.slow
def test_published_settings_agree_with_relion(shared):
    def read(name):
        with gzip.open(shared / "oracles" / "blob128" / f"{name}.mrc.gz") as stream:
            return np.array(mrcfile.mrcinterpreter.MrcInterpreter(stream).data, np.float32)

    halves = [read("half1"), read("half2")]
    oracle, mask = read("relion_locres"), read("mask")
    shape = halves[0].shape
    design = SphereDesign(
        radius_angstrom=10.0, edge_angstrom=5.0, voxel_size_angstrom=1.0, shape=shape
    )
    centres = sphere_centres(shape, 10, 10.0)
    shells = Shells(shape=shape, voxel_size_angstrom=(1.0, 1.0, 1.0))
    first_random = design.shell_of(25.0)

    def curves(volumes):
        blocks = [torch.from_numpy(np.pad(v, design.reach)) for v in volumes]
        return sphere_fsc(*blocks, design, centres)

    def randomised(seed):
        volumes = []
        for stream, half in enumerate(halves):
            spectrum = scipy.fft.rfftn(half)
            randomise_phases(spectrum, shells, first_shell=first_random, seed=seed, stream=stream)
            volumes.append(scipy.fft.irfftn(spectrum, s=shape).astype(np.float32))
        return curves(volumes)

    masked = curves(halves)
    maps = []
    for seed in (1, 2):
        shell = last_shell_above(corrected_curves(masked, randomised(seed), first_random))
        resolution = np.minimum(128 / np.maximum(shell, 1), 50)
        padded = blend(centres, resolution, design, np.array(shape) + 2 * design.reach)
        inner = slice(design.reach, -design.reach)
        maps.append(padded[inner, inner, inner])
    np.testing.assert_array_equal(np.isfinite(maps[0]), oracle > 0)
    inside = (mask > 0.5) & (oracle > 0)
    error = np.abs(maps[0] / oracle - 1)[inside]
    between_seeds = np.abs(maps[0] / maps[1] - 1)[inside]
    # Each program draws its own phases. Ours differ from RELION's no more than from themselves.
    assert np.median(error) < 0.02
    assert (error < 0.03).mean() > (between_seeds < 0.03).mean() - 0.03
