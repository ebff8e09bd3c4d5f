"""MonoRes on one block of one pyramid level: noise histograms first, decisions second.

A resolution r is tested by the monogenic amplitude in the band [f, 2 f], f = 1 / r, smoothed below
f as published: a voxel passes when its amplitude is above a quantile of the noise's. Unlike the
published high-pass, the band leaves out the noise of all finer frequencies, and it lives on a
coarse level of the pyramid. The filter edges are 0.02 cycles per voxel of that level wide, which
32 voxels of halo carry: against the whole volume 97 % of voxels end on the same step and 99.3 %
within one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
from distres.kernels.noise_threshold import BINS, Counts, amplitude_histogram
from distres.kernels.resample import HALVING_PASS_FREQ_VOX
from distres.kernels.sweep import SweepState

RAMP_VOX = 0.02
HALO_VOX = 32
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


def noise_counts(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    scale: float,
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

    Returns
    -------
    array
        (tests, BINS) int64.
    """
    counts = np.zeros((len(tests.frequencies), BINS), dtype=np.int64)
    if not tests.frequencies or not bool(region.any()):
        return counts
    riesz = riesz_block(noise, voxel_angstrom)
    for place, frequency in enumerate(tests.frequencies):
        box = box_shape(riesz.shape, voxel_angstrom, frequency + tests.ramp)
        amplitude = _amplitude(riesz, frequency, tests.ramp, box)
        picked = [_samples(n, m, c) for n, m, c in zip(riesz.shape, box, core, strict=True)]
        for axis, (samples, _) in enumerate(picked):
            amplitude = amplitude.index_select(axis, samples.to(amplitude.device))
        inside = region
        for axis, (_, voxels) in enumerate(picked):
            inside = inside.index_select(axis, voxels.to(inside.device))
        # Smoothing rings: where a few values fall below zero, zero is what they stand for.
        counts[place] = amplitude_histogram(amplitude[inside].clamp_min_(0), scale)
    return counts


def decide(
    signal: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    thresholds: Sequence[float] | torch.Tensor,
    state: SweepState,
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
    """
    if not tests.frequencies or not bool(state.alive.any()):
        return
    riesz = riesz_block(signal, voxel_angstrom)
    for index, frequency, threshold in zip(
        tests.indices, tests.frequencies, thresholds, strict=True
    ):
        amplitude = _amplitude(riesz, frequency, tests.ramp, riesz.shape)[core]
        state.update(amplitude > threshold, index)
        if not bool(state.alive.any()):
            return


def refine_state(state: SweepState, start: Shape3, shape: Shape3) -> SweepState:
    """Carry a state from a level to the next finer one.

    Voxel i of the coarse level lies on voxel 2 i of the fine one, and the voxel after it takes its
    state too: a shift of a quarter of a coarse voxel on average, at a level whose resolutions are
    more than five of them.

    Parameters
    ----------
    state
        Of the coarse voxels ``start // 2`` and on.
    start, shape
        The fine voxels wanted.
    """
    last, fails = state.last, state.fails
    for axis in range(3):
        index = torch.arange(start[axis], start[axis] + shape[axis], device=last.device)
        index = torch.div(index, 2, rounding_mode="floor") - start[axis] // 2
        last, fails = last.index_select(axis, index), fails.index_select(axis, index)
    return SweepState(last=last, fails=fails)


def _amplitude(riesz: RieszBlock, frequency: float, ramp: float, box: Shape3) -> torch.Tensor:
    z, y, x = (n * d for n, d in zip(riesz.shape, riesz.voxel_angstrom, strict=True))
    amplitude = monogenic_amplitude(riesz, Band.octave(frequency, ramp))
    return smooth_amplitude(amplitude, (z, y, x), Band.low_pass(frequency, ramp), box)


def _samples(voxels: int, box: int, core: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the samples of a box whose nearest voxel is in the core, and those voxels in it."""
    nearest = (np.arange(box) * voxels + box // 2) // box
    kept = np.flatnonzero((nearest >= core.start) & (nearest < core.stop))
    return torch.from_numpy(kept), torch.from_numpy(nearest[kept] - core.start)
