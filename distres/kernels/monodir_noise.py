"""The noise of one block of one pyramid level in every cone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, pi, radians

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.centred import Float3
from distres.kernels.conebox import Cone
from distres.kernels.cones import ConeSpectrum
from distres.kernels.monodir import (
    NEVER_PASSED,
    BandTables,
    Cones,
    Reader,
    smoothing_angstrom,
)
from distres.kernels.monores import LevelTests
from distres.kernels.noise_threshold import BINS, Counts, amplitude_histogram
from distres.kernels.riesz import divided_spectrum
from distres.kernels.sparse_tests import fill_between
from distres.kernels.subblocks import Core

# Samples of noise are this far apart: their correlation is 0.4 then.
NOISE_SPACING_WAVELENGTHS = 0.75
# And at most so many to a block: the mean of a direction is then known to half a percent.
MOST_NOISE_SAMPLES = 1 << 13
# Beside the signal of a map, noise is taken this near to the axis of a cone (as published).
ALONG_DEGREES = 45.0
# A direction whose noise is this much weaker than that of others was not measured: it holds what
# an edge leaks. Its tests are never passed.
SILENT = 0.05

Float = npt.NDArray[np.float64]


def independent_samples(volume_angstrom3: float, frequency: float) -> float:
    """Return how many independent values the smoothed amplitude of noise has in a volume.

    White noise under a Gaussian of s has one in (2 sqrt(pi) s)^3. The amplitude of a narrow cone is
    smooth by itself across its axis (the waves of 15 degrees spread over two wavelengths), which
    about halves their number.
    """
    return float(volume_angstrom3 / (2 * pi**0.5 * smoothing_angstrom(frequency)) ** 3 / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalNoise:
    """The noise of a block in every direction.

    Attributes
    ----------
    sums
        (directions, places) float64 sum of the smoothed amplitudes.
    samples
        (directions, places) int64: of how many values.
    counts
        (places, BINS) int64 histogram of the amplitude over its direction's mean in this block.
    powers
        (directions, tests) float64 mean square of the amplitude in the whole block.
    """

    sums: Float
    samples: npt.NDArray[np.int64]
    counts: Counts
    powers: Float

    @classmethod
    def none(cls, directions: int, places: int, tests: int) -> "DirectionalNoise":
        """Return that of a block without a place to measure it."""
        return cls(
            sums=np.zeros((directions, places)),
            samples=np.zeros((directions, places), dtype=np.int64),
            counts=np.zeros((places, BINS), dtype=np.int64),
            powers=np.zeros((directions, tests)),
        )


def directional_noise(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    places: Sequence[int],
    cones: Cones,
    centre_angstrom: Float3 | None = None,
) -> DirectionalNoise:
    """Measure the noise in every cone: its mean by direction, and how it scatters around that.

    Cones differ in how strong the noise in them is, hardly in the shape of its distribution. So
    the mean, which needs few values, is taken by direction, the shape from all of them together.

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
    places
        Those whose amplitudes are measured; of the others only powers are.
    cones
        The directions.
    centre_angstrom
        Middle of the particle, from the first voxel of the core, when the noise of a map is
        measured beside its signal: waves in a cone spread far across its axis, so that only places
        within `ALONG_DEGREES` of the axis, seen from the middle, hold noise alone. None for
        noise without signal.
    """
    lattices = [
        _NoiseLattice.of(
            noise, region, core, voxel_angstrom, tests.frequencies[place], centre_angstrom
        )
        for place in places
    ]
    found = DirectionalNoise.none(len(cones), len(places), len(tests.frequencies))
    if not any(bool(lattice.inside.any()) for lattice in lattices):
        return found
    riesz = divided_spectrum(noise, voxel_angstrom)
    bands = BandTables.of(tests, riesz)
    squares = torch.stack(bands.tables).double().square_()
    amplitudes: list[list[torch.Tensor]] = [[] for _ in places]
    for index, cone in enumerate(cones):
        cut = ConeSpectrum.of(riesz, cone, *bands.range)
        found.powers[index] = cut.powers(squares).cpu().numpy()
        for column, (place, lattice) in enumerate(zip(places, lattices, strict=True)):
            values = bands.smooth(cut, place, lattice.reader)[lattice.seen(cone)].clamp_min_(0)
            found.samples[index, column] = values.numel()
            found.sums[index, column] = float(values.double().sum())
            amplitudes[column].append(values)
    for column, pieces in enumerate(amplitudes):
        means = found.sums[:, column] / np.maximum(found.samples[:, column], 1)
        audible = np.flatnonzero(means > SILENT * means.max())
        ratios = [pieces[i] / float(means[i]) for i in audible.tolist()]
        if ratios:
            found.counts[column] = amplitude_histogram(torch.cat(ratios), 1.0)
    return found


def fill_means(tests: LevelTests, places: Sequence[int], means: Float, powers: Float) -> Float:
    """Return the mean amplitude of every direction and test, of which some were measured.

    In between the mean follows the strength of the noise in the whole block, times a factor that
    hardly changes from test to test: 0.89 for a normal distribution that is the same everywhere.

    Parameters
    ----------
    tests
        The level's tests.
    places
        Those measured, the first and the last among them, rising.
    means
        (directions, places) mean amplitudes.
    powers
        (directions, tests) mean squares in the block.
    """
    strengths = np.sqrt(powers)
    there = strengths[:, list(places)]
    factor = np.divide(means, there, out=np.zeros_like(means), where=there > 0)
    filled: Float = fill_between(tests.frequencies, tuple(places), factor.T).T * strengths
    return filled


def thresholds_of(means: Float, quantiles: Float) -> Float:
    """Return the threshold of every direction and test; infinite where a direction is silent.

    Parameters
    ----------
    means
        (directions, tests) mean amplitudes of noise.
    quantiles
        (tests,) threshold in units of the mean.
    """
    silent = means <= SILENT * means.max(axis=0)
    return np.where(silent, NEVER_PASSED, means * quantiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoiseLattice:
    """Nearly independent voxels of a core: a reader there, and which of them lie in the region.

    `directions` are unit vectors (points of the region, 3) from the centre, None without one.
    """

    reader: Reader
    inside: torch.Tensor
    directions: torch.Tensor | None

    @classmethod
    def of(
        cls,
        noise: torch.Tensor,
        region: torch.Tensor,
        core: Core,
        voxel: Float3,
        frequency: float,
        centre: Float3 | None,
    ) -> "_NoiseLattice":
        places, axes, inside = [], [], region
        sparsest = ceil((region.numel() / MOST_NOISE_SAMPLES) ** (1 / 3))
        for axis, (part, n, d) in enumerate(zip(core, region.shape, voxel, strict=True)):
            spacing = max(sparsest, round(NOISE_SPACING_WAVELENGTHS / (frequency * d)))
            own = np.arange(min(spacing // 2, (n - 1) // 2), n, spacing)
            axes.append(torch.from_numpy(own * d).to(region.device))
            places.append(own.astype(np.float64) + part.start)
            inside = inside.index_select(axis, torch.from_numpy(own).to(inside.device))
        shape = (noise.shape[0], noise.shape[1], noise.shape[2])
        found = None
        if centre is not None:
            away = [axis - c for axis, c in zip(axes, centre, strict=True)]
            grid = torch.stack(torch.meshgrid(*away, indexing="ij"), dim=-1)[inside]
            found = grid / grid.norm(dim=1, keepdim=True).clamp_min(1e-9)
        return cls(reader=Reader(shape, voxel, places), inside=inside, directions=found)

    def seen(self, cone: Cone) -> torch.Tensor:
        """Return which lattice points count for a cone (bool)."""
        if self.directions is None:
            return self.inside
        axis = torch.tensor(cone.axis, dtype=self.directions.dtype, device=self.directions.device)
        found = torch.zeros_like(self.inside)
        found[self.inside] = (self.directions @ axis).abs() >= cos(radians(ALONG_DEGREES))
        return found
