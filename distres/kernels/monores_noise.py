"""The noise of one block of one pyramid level: histograms, or cells of a smooth field."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.centred import Float3
from distres.kernels.monogenic import Band, box_shape
from distres.kernels.monores import Core, LevelTests, smoothed_amplitude
from distres.kernels.noise_threshold import BINS, Counts, amplitude_histogram
from distres.kernels.riesz import RieszBlock, riesz_block
from distres.kernels.threshold_field import fit_threshold_field
from distres.kernels.wedge import Wedge

CELL_VOX = 8
# A smoothed amplitude has as many independent values as a field whose sharp cutoff, in units of the
# frequency tested, this is: the cube root of the integral of 3 k^2 gain(k)^2 for `Band.smoother`.
INDEPENDENT_CUTOFF = 0.538


def noise_counts(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    scale: float,
    wedge: Wedge | None = None,
) -> Counts:
    """Count the amplitudes of noise in the core of a block, for every test of a level.

    The smoothed amplitude is sampled just above its own Nyquist rate, not at every voxel: more
    samples would be copies of these.

    Parameters
    ----------
    noise
        (z, y, x) float32 block: half the difference of the half maps, or a map.
    region
        Boolean, shape of the core: where noise is measured.
    core
        Place of the core in the block.
    voxel_angstrom
        Voxel lengths of the level.
    tests
        The level's tests.
    scale
        See `amplitude_histogram`.
    wedge
        Frequencies that were not measured and do not count.

    Returns
    -------
    array
        (tests, BINS) int64.
    """
    counts = np.zeros((len(tests.frequencies), BINS), dtype=np.int64)
    if not tests.frequencies or not bool(region.any()):
        return counts
    riesz = riesz_block(noise, voxel_angstrom, wedge)
    for place, frequency in enumerate(tests.frequencies):
        amplitude, inside, _ = _sampled(riesz, region, core, frequency, tests.ramp)
        counts[place] = amplitude_histogram(amplitude[inside], scale)
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseCells:
    """The noise of a block by cells.

    Attributes
    ----------
    means
        (tests, z, y, x) float32 mean amplitude of each cell.
    weights
        The same shape: how many samples it rests on, 0 for an empty cell.
    counts
        (tests, BINS) int64 histogram of amplitude over the smooth field of means.
    """

    means: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    counts: Counts


def noise_cells(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    wedge: Wedge | None = None,
) -> NoiseCells:
    """Measure how strong the noise is in every cell, and how its amplitude scatters around that.

    Noise that varies in space is taken to be one kind of noise times a smooth field: the field
    comes from means, which need few values, and the quantile from the whole volume.

    Parameters
    ----------
    noise, region, core, voxel_angstrom, tests, wedge
        As in `noise_counts`. Cells of `CELL_VOX` voxels start with the core.
    """
    count = len(tests.frequencies)
    cells = [-(-n // CELL_VOX) for n in region.shape]
    means = np.zeros((count, *cells), dtype=np.float32)
    weights = np.zeros_like(means)
    counts = np.zeros((count, BINS), dtype=np.int64)
    if count and bool(region.any()):
        riesz = riesz_block(noise, voxel_angstrom, wedge)
        for place, frequency in enumerate(tests.frequencies):
            amplitude, inside, nearest = _sampled(riesz, region, core, frequency, tests.ramp)
            found = _cell_means(amplitude, inside, nearest, cells)
            means[place], weights[place] = found
            if not found[1].any():
                continue
            z, y, x = region.shape
            field = fit_threshold_field(
                found[0].astype(np.float64),
                found[1].astype(np.float64),
                (z, y, x),
                (CELL_VOX,) * 3,
                field_bandwidth_cells(frequency * max(voxel_angstrom)),
            )
            axes = [v.astype(np.float64) for v in nearest]
            level = field.at_places((axes[0], axes[1], axes[2]), amplitude.device)
            counts[place] = amplitude_histogram((amplitude / level)[inside], 1.0)
    return NoiseCells(means=means, weights=weights, counts=counts)


# Independent values behind a place of the field: two hundred inside, a fifth of that in corners.
FIELD_INDEPENDENT = 40.0


def field_bandwidth_cells(freq_vox: float) -> float:
    """Return over how many cells the noise field is smoothed: two wavelengths, at least 10 voxels.

    Then about `FIELD_INDEPENDENT` values stand behind each place.
    """
    return max(10.0, 2.0 / freq_vox) / CELL_VOX


def _cell_means(
    amplitude: torch.Tensor,
    inside: torch.Tensor,
    nearest: list[npt.NDArray[np.int64]],
    cells: Sequence[int],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Average samples by the cell of their voxel; also return how many each cell has."""
    weight = inside.to(torch.float32).cpu().numpy()
    total = amplitude.cpu().numpy() * weight
    for axis, (voxels, n) in enumerate(zip(nearest, cells, strict=True)):
        share = np.zeros((n, len(voxels)), dtype=np.float32)
        share[voxels // CELL_VOX, np.arange(len(voxels))] = 1.0
        weight = np.moveaxis(np.tensordot(share, weight, axes=(1, axis)), 0, axis)
        total = np.moveaxis(np.tensordot(share, total, axes=(1, axis)), 0, axis)
    mean = total / np.where(weight > 0, weight, 1.0)
    return mean.astype(np.float32), weight.astype(np.float32)


def _sampled(
    riesz: RieszBlock, region: torch.Tensor, core: Core, frequency: float, ramp: float
) -> tuple[torch.Tensor, torch.Tensor, list[npt.NDArray[np.int64]]]:
    """Return the smoothed amplitude on its own small grid inside the core.

    Returns
    -------
    tuple
        Amplitude (z, y, x) at the samples whose nearest voxel is in the core; which of them lie in
        the region; and those voxels along each axis, counted from the core's first.
    """
    box = box_shape(riesz.shape, riesz.voxel_angstrom, Band.smoother(frequency).stop)
    amplitude = smoothed_amplitude(riesz, frequency, ramp, box)
    nearest, inside = [], region
    for axis, (n, m, part) in enumerate(zip(riesz.shape, box, core, strict=True)):
        voxels = (np.arange(m) * n + m // 2) // m
        kept = np.flatnonzero((voxels >= part.start) & (voxels < part.stop))
        nearest.append(voxels[kept] - part.start)
        amplitude = amplitude.index_select(axis, torch.from_numpy(kept).to(amplitude.device))
        inside = inside.index_select(axis, torch.from_numpy(nearest[-1]).to(inside.device))
    # Smoothing rings: where a few values fall below zero, zero is what they stand for.
    return amplitude.clamp_min_(0), inside, nearest
