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

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import torch

from distres.errors import UsageError
from distres.kernels.centred import Float3, Shape3
from distres.kernels.monogenic import Band, monogenic_amplitude, smooth_amplitude
from distres.kernels.resample import HALVING_PASS_FREQ_VOX
from distres.kernels.riesz import RieszBlock, riesz_block
from distres.kernels.subblocks import Core, cut, grown, living_box, times, voxels
from distres.kernels.sweep import SweepState, exceeds
from distres.kernels.wedge import Wedge

RAMP_VOX = 0.04
FACE_RAMP_VOX = 0.05
HALO_VOX = 32
# Tests between looks where voxels are still in the sweep; the block is cut to them and their halo
# when that leaves less than this share of it.
LOOK_EVERY = 3
WORTH_CUTTING = 0.7
# A level is right up to twice the halving filter's pass-band, in its own voxels.
LEVEL_TOP_FREQ_VOX = 2 * HALVING_PASS_FREQ_VOX


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
    stride
        Voxels of the level from one place that is decided to the next. Above 1 amplitudes are
        taken there only, and smoothed as far as those places can hold.
    """

    level: int
    first: int
    frequencies: tuple[float, ...]
    ramp: float
    stride: int = 1

    @property
    def indices(self) -> range:
        """Places of the tests in the whole sweep."""
        return range(self.first, self.first + len(self.frequencies))

    def smoothing_frequency(self, frequency: float, voxel_angstrom: Float3) -> float:
        """Return which frequency's smoothing a test gets: its own, or the finest places hold."""
        if self.stride == 1:
            return frequency
        return min(frequency, Band.finest_smoother(self.stride * max(voxel_angstrom)))

    def lattice(self, shape: Shape3) -> Shape3:
        """Return how many places of a block of voxels are decided."""
        z, y, x = (-(-n // self.stride) for n in shape)
        return z, y, x


def plan_levels(
    tests: npt.NDArray[np.float64], voxel_angstrom: Float3, levels: int, stride: int = 1
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
    stride
        Of level 0, see `LevelTests`.

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
                    stride=stride if level == 0 else 1,
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
    return _halo(tests.frequencies[0], voxel_angstrom) if tests.frequencies else 0


def _halo(frequency: float, voxel_angstrom: Float3) -> int:
    return max(HALO_VOX, 2 * ceil(1 / (frequency * max(voxel_angstrom))))


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
        (z, y, x) float32 block: the map, or the mean of the half maps. Its lengths are multiples
        of the tests' stride.
    core
        Place of the core in the block; it begins at a multiple of the stride.
    voxel_angstrom, tests
        As in `noise_counts`.
    thresholds
        One for each test of the level: a number, or a field over the places decided.
    state
        Of those places of the core; updated in place.
    wedge
        As in `noise_counts`.
    """
    region = living_box(state) if tests.frequencies else None
    if region is None:
        return
    stride = tests.stride
    read: Core = (slice(0, signal.shape[0]), slice(0, signal.shape[1]), slice(0, signal.shape[2]))
    riesz = riesz_block(signal, voxel_angstrom, wedge)
    for count, (frequency, threshold) in enumerate(zip(tests.frequencies, thresholds, strict=True)):
        if count % LOOK_EVERY == LOOK_EVERY - 1:
            region = living_box(state)
            if region is None:
                return
            wide = times(region, stride)
            wanted = grown(wide, core, read, _halo(frequency, voxel_angstrom), stride)
            if voxels(wanted) < WORTH_CUTTING * voxels(read):
                read, riesz = wanted, riesz_block(cut(signal, wanted), voxel_angstrom, wedge)
        before = [(c.start - b.start) // stride for c, b in zip(core, read, strict=True)]
        place = tuple(slice(n + r.start, n + r.stop) for n, r in zip(before, region, strict=True))
        limit = threshold[region] if isinstance(threshold, torch.Tensor) else threshold
        here = SweepState(last=state.last[region], fails=state.fails[region])
        amplitude = smoothed_amplitude(riesz, frequency, tests, tests.lattice(riesz.shape), place)
        here.update(exceeds(amplitude, limit), tests.first + count)


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


def smoothed_amplitude(
    riesz: RieszBlock,
    frequency: float,
    tests: LevelTests,
    box: Shape3,
    keep: tuple[slice, ...] | None = None,
) -> torch.Tensor:
    """Return what a test compares: the amplitude in [f, 2 f], smoothed, on a box (z, y, x).

    `keep` are the slices of that box wanted, None for all.
    """
    z, y, x = (n * d for n, d in zip(riesz.shape, riesz.voxel_angstrom, strict=True))
    amplitude = monogenic_amplitude(
        riesz,
        Band.octave(frequency, tests.ramp),
        face_ramp_freq_vox=FACE_RAMP_VOX,
        samples=tests.lattice(riesz.shape),
    )
    smoothed_at = tests.smoothing_frequency(frequency, riesz.voxel_angstrom)
    return smooth_amplitude(amplitude, (z, y, x), Band.smoother(smoothed_at), box, keep)
