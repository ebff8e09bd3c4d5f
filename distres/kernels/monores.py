"""MonoRes on one block of one pyramid level: noise histograms first, decisions second.

A resolution r is tested by the monogenic amplitude in the band [f, 2 f], f = 1 / r, smoothed below
f: a voxel passes when its amplitude is above a quantile of the noise's. Unlike the published
high-pass, the band leaves out the noise of all finer frequencies, and it lives on a coarse level of
the pyramid.

Halo. Edges of width w in the filters reach 1 / w voxels far; at 0.04 cycles per voxel of the level
that is 25. `HALO_VOX` voxels, the outer `TAPER_VOX` of them faded out so that opposite faces of a
block do not meet in a step, leave 98 % of voxels on the same step as in the whole volume and 99.9 %
within one (cores of 64 voxels, steps of half a voxel, white noise; 97 % for cores of 48).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import torch

from distres.errors import UsageError
from distres.kernels.monogenic import (
    Band,
    Float3,
    RieszBlock,
    Shape3,
    box_shape,
    monogenic_amplitude,
    riesz_block,
    smooth_amplitude,
)
from distres.kernels.noise_threshold import (
    BINS,
    Counts,
    amplitude_histogram,
)
from distres.kernels.resample import HALVING_PASS_FREQ_VOX
from distres.kernels.sweep import SweepState
from distres.kernels.threshold_field import fit_threshold_field
from distres.kernels.wedge import Wedge

RAMP_VOX = 0.04
FACE_RAMP_VOX = 0.05
HALO_VOX = 32
TAPER_VOX = 12
CELL_VOX = 8
# A smoothed amplitude has as many independent values as a field whose sharp cutoff, in units of the
# frequency tested, this is: the cube root of the integral of 3 k^2 gain(k)^2 for `Band.smoother`.
INDEPENDENT_CUTOFF = 0.538
# Tests between looks whether any voxel is still in the sweep.
LOOK_EVERY = 4
# A level is right up to twice the halving filter's pass-band, in its own voxels.
LEVEL_TOP_FREQ_VOX = 2 * HALVING_PASS_FREQ_VOX

Core = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTests:
    """The tests of a sweep that live on one level of the pyramid.

    Attributes
    ----------
    level
        0 is the input's own grid; each level halves it.
    first
        Index of the first test in the whole sweep.
    frequencies
        In 1/angstrom, rising.
    ramp
        Width of the filters' edges in 1/angstrom.
    """

    level: int
    first: int
    frequencies: tuple[float, ...]
    ramp: float

    @property
    def indices(self) -> range:
        """Places of the tests in the whole sweep."""
        return range(self.first, self.first + len(self.frequencies))


def plan_levels(
    tests: npt.NDArray[np.float64], voxel_angstrom: Float3, levels: int
) -> tuple[LevelTests, ...]:
    """Give every test the coarsest level that holds its band.

    Parameters
    ----------
    tests
        Resolutions in angstrom, coarse to fine.
    voxel_angstrom
        Voxel lengths of level 0; the longest decides.
    levels
        Levels that exist.

    Returns
    -------
    tuple
        Levels in use, the coarsest first; level 0 is always among them, perhaps without tests.
    """
    longest = max(voxel_angstrom)
    if tests[-1] < 2 * min(voxel_angstrom) * (1 - 1e-6):
        raise UsageError(
            f"{tests[-1]:g} angstrom is beyond the Nyquist limit of {2 * min(voxel_angstrom):g} "
            "angstrom; give a coarser fine end"
        )
    homes = [_home(1 / float(r), longest, levels) for r in tests]
    found = []
    for level in range(max(homes), -1, -1):
        places = [i for i, home in enumerate(homes) if home == level]
        if places or level == 0:
            found.append(
                LevelTests(
                    level=level,
                    first=places[0] if places else len(tests),
                    frequencies=tuple(1 / float(tests[i]) for i in places),
                    ramp=RAMP_VOX / (longest * 2**level),
                )
            )
    return tuple(found)


def _home(frequency: float, voxel_angstrom: float, levels: int) -> int:
    for level in range(levels - 1, 0, -1):
        if 2 * frequency * voxel_angstrom * 2**level + RAMP_VOX <= LEVEL_TOP_FREQ_VOX:
            return level
    return 0


def halo_vox(tests: LevelTests, voxel_angstrom: Float3) -> int:
    """Return the halo of a level: more than `HALO_VOX` only for waves longer than half of it.

    That happens on the coarsest level that exists, below `HALO_VOX / 2` voxels a wave otherwise.
    """
    if not tests.frequencies:
        return 0
    longest = 1 / (tests.frequencies[0] * max(voxel_angstrom))
    return max(HALO_VOX, 2 * ceil(longest))


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
    weight = inside.to(torch.float32).cpu().numpy().astype(np.float64)
    total = amplitude.cpu().numpy() * weight
    for axis, (voxels, n) in enumerate(zip(nearest, cells, strict=True)):
        share = np.zeros((n, len(voxels)))
        share[voxels // CELL_VOX, np.arange(len(voxels))] = 1.0
        weight = np.moveaxis(np.tensordot(share, weight, axes=(1, axis)), 0, axis)
        total = np.moveaxis(np.tensordot(share, total, axes=(1, axis)), 0, axis)
    mean = total / np.where(weight > 0, weight, 1.0)
    return mean.astype(np.float32), weight.astype(np.float32)


def decide(
    signal: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    thresholds: Iterable[float | torch.Tensor],
    state: SweepState,
    wedge: Wedge | None = None,
) -> None:
    """Run a level's tests on the core of a block and enter them into the state of its voxels.

    Parameters
    ----------
    signal
        (z, y, x) float32 block: the map, or the mean of the half maps.
    core, voxel_angstrom, tests
        As in `noise_counts`.
    thresholds
        One for each test of the level: a number, or a field over the core.
    state
        Of the core's voxels; updated in place.
    wedge
        As in `noise_counts`.
    """
    if not tests.frequencies or not bool(state.alive.any()):
        return
    riesz = riesz_block(signal, voxel_angstrom, wedge)
    for index, frequency, threshold in zip(
        tests.indices, tests.frequencies, thresholds, strict=True
    ):
        amplitude = _amplitude(riesz, frequency, tests.ramp, riesz.shape)[core]
        state.update(amplitude > threshold, index)
        if index % LOOK_EVERY == 0 and not bool(state.alive.any()):
            return


def taper_faces(block: torch.Tensor, widths: Sequence[tuple[int, int]]) -> None:
    """Fade a block out towards its faces.

    Parameters
    ----------
    block
        (z, y, x); changed in place.
    widths
        Per axis, over how many voxels at the first and at the last face; 0 leaves a face as it is.
    """
    for axis, pair in enumerate(widths):
        for first, wanted in zip((True, False), pair, strict=True):
            width = min(wanted, block.shape[axis] // 4)
            if width == 0:
                continue
            place = torch.arange(width, device=block.device, dtype=block.dtype) + 0.5
            ramp = 0.5 - 0.5 * torch.cos(torch.pi * place / width)
            start = 0 if first else block.shape[axis] - width
            view = [1, 1, 1]
            view[axis] = width
            block.narrow(axis, start, width).mul_((ramp if first else ramp.flip(0)).view(view))


def refine_state(state: SweepState, factor: int, start: Shape3, shape: Shape3) -> SweepState:
    """Carry a state from a level to a finer one.

    Voxel i of the coarse level lies on voxel ``factor * i`` of the fine one, and the voxels up to
    the next one take its state too: for neighbouring levels a shift of a quarter of a coarse voxel
    on average, where resolutions are more than five of them.

    Parameters
    ----------
    state
        Of the coarse voxels ``start // factor`` and on.
    factor
        Fine voxels along a coarse one.
    start, shape
        The fine voxels wanted.
    """
    last, fails = state.last, state.fails
    for axis in range(3):
        index = torch.arange(start[axis], start[axis] + shape[axis], device=last.device)
        index = torch.div(index, factor, rounding_mode="floor") - start[axis] // factor
        last, fails = last.index_select(axis, index), fails.index_select(axis, index)
    return SweepState(last=last, fails=fails)


def _amplitude(riesz: RieszBlock, frequency: float, ramp: float, box: Shape3) -> torch.Tensor:
    z, y, x = (n * d for n, d in zip(riesz.shape, riesz.voxel_angstrom, strict=True))
    band = Band.octave(frequency, ramp)
    amplitude = monogenic_amplitude(riesz, band, face_ramp_freq_vox=FACE_RAMP_VOX)
    return smooth_amplitude(amplitude, (z, y, x), Band.smoother(frequency), box)


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
    amplitude = _amplitude(riesz, frequency, ramp, box)
    nearest, inside = [], region
    for axis, (n, m, part) in enumerate(zip(riesz.shape, box, core, strict=True)):
        voxels = (np.arange(m) * n + m // 2) // m
        kept = np.flatnonzero((voxels >= part.start) & (voxels < part.stop))
        nearest.append(voxels[kept] - part.start)
        amplitude = amplitude.index_select(axis, torch.from_numpy(kept).to(amplitude.device))
        inside = inside.index_select(axis, torch.from_numpy(nearest[-1]).to(inside.device))
    # Smoothing rings: where a few values fall below zero, zero is what they stand for.
    return amplitude.clamp_min_(0), inside, nearest
