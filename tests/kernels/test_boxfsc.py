import gzip
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from distres.kernels.boxcross import bsoft_resolution, degrees_of_freedom
from distres.kernels.boxes import BoxDesign, hann, soft_sphere
from distres.kernels.boxfsc import box_fsc


def noise(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def design(box, pad, voxel=(1.0, 1.0, 1.0), finest=2.0, *, sphere=False):
    return BoxDesign(
        windows=tuple((np.ones if sphere else hann)(b) for b in box),
        pads=pad,
        voxel_size_angstrom=voxel,
        finest_angstrom=finest,
        ball=soft_sphere(box) if sphere else None,
    )


def fsc_of_one_box(first, second, d, *, subtract_mean=True):
    """The textbook way: window, full complex transform, shells by interpolation."""
    window = d.window
    spectra = []
    for box in (first, second):
        mean = (box * window).sum() / window.sum() if subtract_mean else 0.0
        spectra.append(np.fft.fftn((box.astype(float) - mean) * window, s=d.pads, axes=(0, 1, 2)))
    axes = [np.fft.fftfreq(p, a) for p, a in zip(d.pads, d.voxel_size_angstrom, strict=True)]
    radius = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    radius = radius.ravel() / d.width_per_angstrom
    low = np.floor(radius + 1e-9).astype(int)
    part = np.clip(radius - low, 0, 1)

    def shells(values):
        flat = values.ravel()
        total = np.bincount(low, flat * (1 - part), 200) + np.bincount(low + 1, flat * part, 200)
        return total[: d.count]

    a, b = spectra
    power = shells(abs(a) ** 2) * shells(abs(b) ** 2)
    # What is left of the mean may round to less than nothing.
    return shells((a * b.conj()).real) / np.sqrt(np.maximum(power, 1e-30))


@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize(
    ("box", "pad", "voxel", "finest"),
    [
        ((9, 9, 9), (18, 18, 18), (1.0, 1.0, 1.0), 2.0),
        ((9, 9, 9), (9, 9, 9), (1.0, 1.0, 1.0), 2.0),
        ((11, 11, 11), (16, 16, 16), (1.3, 1.3, 1.3), 4.0),
        ((5, 9, 11), (10, 18, 22), (2.0, 1.1, 1.0), 4.0),
    ],
)
def test_every_box_has_the_correlation_of_its_own_transform(box, pad, voxel, finest, sphere):
    d = design(box, pad, voxel, finest, sphere=sphere)
    grid, step = (3, 2, 4), 2
    shape = tuple(b + step * (g - 1) for b, g in zip(box, grid, strict=True))
    common = noise(shape, 0)
    half1, half2 = common + noise(shape, 1) + 5, common + noise(shape, 2) - 3
    curves = box_fsc(
        torch.from_numpy(half1), torch.from_numpy(half2), d, step=step, wanted=np.ones(grid, bool)
    )
    for curve, place in zip(curves, np.ndindex(grid), strict=True):
        part = tuple(slice(step * i, step * i + b) for i, b in zip(place, box, strict=True))
        expected = fsc_of_one_box(half1[part], half2[part], d)
        # float32 sums of a few thousand terms after an offset of 5 was taken out.
        np.testing.assert_allclose(curve[1:], expected[1:], atol=2e-5)


@pytest.mark.parametrize("sphere", [False, True])
def test_a_sparse_choice_of_centres_gives_the_same_curves(sphere):
    d = design((7, 7, 7), (14, 14, 14), sphere=sphere)
    half1, half2 = (torch.from_numpy(noise((20, 21, 22), s)) for s in (3, 4))
    grid = (14, 15, 16)
    every = box_fsc(half1, half2, d, wanted=np.ones(grid, bool))
    wanted = np.random.default_rng(5).random(grid) < 0.1
    chosen = box_fsc(half1, half2, d, wanted=wanted)
    np.testing.assert_allclose(chosen, every[wanted.ravel()], atol=1e-6)


def test_scaling_offset_and_swapping_the_halves_change_nothing():
    d = design((9, 9, 9), (18, 18, 18))
    common = noise((12, 12, 12), 6)
    half1, half2 = (torch.from_numpy(common + noise((12, 12, 12), s)) for s in (7, 8))
    wanted = np.ones((4, 4, 4), bool)
    plain = box_fsc(half1, half2, d, wanted=wanted)
    changed = box_fsc(half2 * 3 + 2, half1 * 0.1 - 1, d, wanted=wanted)
    np.testing.assert_allclose(changed, plain, atol=2e-5)


def test_a_box_without_signal_has_no_correlation():
    d = design((7, 7, 7), (14, 14, 14))
    empty = torch.zeros((7, 7, 7))
    curves = box_fsc(empty, torch.ones((7, 7, 7)), d, wanted=np.ones((1, 1, 1), bool))
    assert np.isfinite(curves).all()
    np.testing.assert_allclose(curves[0, 1:], 0, atol=1e-6)


def test_a_soft_sphere_fades_alike_in_all_directions():
    window = soft_sphere((11, 11, 11))
    assert window[5, 5, 5] == 1
    # (3, 4, 0) and (5, 0, 0) lie equally far from the middle.
    assert window[5 + 3, 5 + 4, 5] == pytest.approx(window[10, 5, 5])
    assert window[0, 0, 0] == 0
    assert window[10, 5, 5] > 0


@pytest.mark.parametrize(("pad", "sphere"), [(15, False), (30, False), (30, True)])
def test_degrees_of_freedom_are_those_of_white_noise(pad, sphere):
    d = design((15, 15, 15), (pad, pad, pad), sphere=sphere)
    grid, step = (10, 10, 10), 13
    edge = 15 + 9 * step
    half1, half2 = (torch.from_numpy(noise((edge,) * 3, s)) for s in (9, 10))
    curves = box_fsc(half1, half2, d, step=step, wanted=np.ones(grid, bool))
    expected = degrees_of_freedom(d)
    usable = expected > 15
    measured = 1 / (curves[:, usable] ** 2).mean(axis=0)
    # A variance from 1000 nearly independent boxes is known to sqrt(2 / 1000) = 4.5 %; four of
    # those, and the finite-sample difference between 1 / n and 1 / (n - 1).
    np.testing.assert_allclose(measured, expected[usable], rtol=0.22)


def read(folder: Path, name: str):
    with gzip.open(folder / "oracles" / "blob128" / f"{name}.mrc.gz") as stream:
        return np.array(mrcfile.mrcinterpreter.MrcInterpreter(stream).data, np.float32)


def test_bsoft_rule_agrees_with_bsoft(shared):
    half1, half2 = (read(shared, name) for name in ("half1", "half2"))
    box, step = 20, 4
    window = (1 - np.cos(2 * np.pi * np.arange(box) / (box - 1))) / 2
    d = BoxDesign(
        windows=(window, window, window),
        pads=(2 * box, 2 * box, 2 * box),
        voxel_size_angstrom=(1.0, 1.0, 1.0),
        finest_angstrom=2.0,
        bsoft=True,
    )
    blocks = [torch.from_numpy(np.pad(h - h.mean(), box // 2)) for h in (half1, half2)]
    expected = {c: read(shared, f"blocres_{c}")[::step, ::step, ::step] for c in (0.5, 0.143)}
    # A quarter of the points is enough: every second plane, every second row.
    wanted = np.zeros((32, 32, 32), bool)
    wanted[::2, ::2] = expected[0.5][::2, ::2] > 0
    curves = box_fsc(*blocks, d, step=step, wanted=wanted, subtract_mean=False)
    for threshold, oracle in expected.items():
        found = bsoft_resolution(
            curves, threshold, width_per_angstrom=d.width_per_angstrom, finest_angstrom=2.0
        )
        error = np.abs(found - oracle[wanted])
        # The oracle is float16, whose spacing is 0.004 A at 4-8 A; last crossings of equal curves
        # may differ where a curve only touches the threshold.
        assert np.median(error) < 0.002
        assert np.percentile(error, 99) < 0.01
