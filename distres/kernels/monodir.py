"""MonoDir on one block of one pyramid level: the noise of every direction, then decisions.

Vilas, Tagare, Vargas, Carazo, Sorzano 2020 (doi:10.1038/s41467-019-13742-w): MonoRes of the waves
in a cone, for every direction of a half-sphere. Here a resolution r is tested by the amplitude of
one end of the cone in the octave [1 / r, 2 / r] (`distres.kernels.cones`), smoothed by a Gaussian
of 0.4 r and compared with the noise in the same cone.

The amplitude lives on a small box. Smoothing it and reading it at the points of a lattice is one
small matrix along each axis, so that no transform of the whole grid is made after the first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, cos, pi, radians

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.centred import Float3, Shape3
from distres.kernels.cones import Cone, ConeSpectrum, band_table
from distres.kernels.monogenic import Band, RieszBlock, riesz_block
from distres.kernels.monores import LOOK_EVERY, Core, LevelTests
from distres.kernels.noise_threshold import BINS, Counts, amplitude_histogram
from distres.kernels.sweep import SweepState

# Box edges in units of the smallest: what the modulus adds beyond lies outside of the Gaussian.
OVERSAMPLING = 1.25
SMOOTHING_WAVELENGTHS = 0.4
# What a block needs around its core: the waves of a cone spread over two wavelengths across it.
HALO_VOX = 48
HALO_WAVELENGTHS = 3.0
# Samples of noise are this far apart: their correlation is 0.4 then.
NOISE_SPACING_WAVELENGTHS = 0.75
# And at most so many to a block: the mean of a direction is then known to half a percent.
MOST_NOISE_SAMPLES = 1 << 13
# Beside the signal of a map, noise is taken this near to the axis of a cone (as published).
ALONG_DEGREES = 45.0
# A direction whose noise is this much weaker than that of others was not measured: it holds what
# an edge leaks. Its tests are never passed.
SILENT = 1e-2
NEVER_PASSED = float("inf")

Vectors = npt.NDArray[np.float64]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cones:
    """The directions of a run.

    Attributes
    ----------
    directions
        (directions, 3) unit vectors (z, y, x).
    half_angle_degrees, edge_degrees
        See `Cone`.
    """

    directions: Vectors
    half_angle_degrees: float
    edge_degrees: float

    def __iter__(self) -> Iterator[Cone]:
        for z, y, x in self.directions.tolist():
            yield Cone(
                axis=(z, y, x),
                half_angle_degrees=self.half_angle_degrees,
                edge_degrees=self.edge_degrees,
            )

    def __len__(self) -> int:
        return len(self.directions)


def octave_band(frequency: float, ramp: float, longest_voxel_angstrom: float) -> Band:
    """Return the band of a test: one octave, cut off at the highest frequency of all axes.

    Beyond it only the corners of the grid hold waves, and only for some of the directions.
    """
    octave = Band.octave(frequency, ramp)
    top = max(octave.low, min(octave.stop, 0.5 / longest_voxel_angstrom))
    high = max(octave.low, min(octave.high, top - ramp))
    return Band(start=octave.start, low=octave.low, high=high, stop=top)


def cone_halo_vox(tests: LevelTests, voxel_angstrom: Float3) -> int:
    """Return the halo of a level: more than `HALO_VOX` only for waves longer than a third of it."""
    if not tests.frequencies:
        return 0
    longest = 1 / (tests.frequencies[0] * max(voxel_angstrom))
    return max(HALO_VOX, ceil(HALO_WAVELENGTHS * longest))


def smoothing_angstrom(frequency: float) -> float:
    """Return the standard deviation of the Gaussian that smooths a test's amplitude."""
    return SMOOTHING_WAVELENGTHS / frequency


def independent_samples(volume_angstrom3: float, frequency: float) -> float:
    """Return how many independent values the smoothed amplitude of noise has in a volume.

    White noise under a Gaussian of s has one in (2 sqrt(pi) s)^3. The amplitude of a narrow cone is
    smooth by itself across its axis (the waves of 15 degrees spread over two wavelengths), which
    about halves their number.
    """
    return float(volume_angstrom3 / (2 * pi**0.5 * smoothing_angstrom(frequency)) ** 3 / 2)


@dataclass(slots=True)
class Reader:
    """Smooths an amplitude and reads it at the points of a lattice.

    Parameters
    ----------
    shape, voxel_angstrom
        Block of the amplitude.
    places
        Along each axis (z, y, x), where lattice points lie, in voxels of the block.
    """

    shape: Shape3
    voxel_angstrom: Float3
    places: Sequence[npt.NDArray[np.float64]]
    _known: dict[tuple[int, int, float], torch.Tensor] = field(default_factory=dict)

    def __call__(self, amplitude: torch.Tensor, sigma_angstrom: float) -> torch.Tensor:
        """Return the smoothed amplitude on the lattice.

        Parameters
        ----------
        amplitude
            (z, y, x) float32 on any box over the block.
        sigma_angstrom
            Standard deviation of the Gaussian; 0 interpolates only.
        """
        z, y, x = (
            self._matrix(axis, m, sigma_angstrom, amplitude.device)
            for axis, m in enumerate(amplitude.shape)
        )
        rows = torch.matmul(amplitude, x.T)
        planes = torch.matmul(y, rows)
        flat = planes.reshape(planes.shape[0], -1)
        return torch.matmul(z, flat).view(len(z), *planes.shape[1:])

    def _matrix(self, axis: int, m: int, sigma: float, device: torch.device) -> torch.Tensor:
        """Return (points, samples): trigonometric interpolation times a Gaussian, periodic."""
        key = (axis, m, sigma)
        if key not in self._known:
            n, d = self.shape[axis], self.voxel_angstrom[axis]
            k = np.arange((m + 1) // 2)
            gain = np.exp(-2 * (pi * sigma * k / (n * d)) ** 2) * np.where(k > 0, 2.0, 1.0) / m
            at = 2 * pi * np.outer(self.places[axis] / n, k)
            of = 2 * pi * np.outer(np.arange(m) / m, k)
            found = (np.cos(at) * gain) @ np.cos(of).T + (np.sin(at) * gain) @ np.sin(of).T
            self._known[key] = torch.from_numpy(found.astype(np.float32)).to(device)
        return self._known[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalNoise:
    """The noise of a block in every direction.

    Attributes
    ----------
    sums
        (directions, tests) float64 sum of the smoothed amplitudes.
    samples
        (directions, tests) int64: of how many values.
    counts
        (tests, BINS) int64 histogram of the amplitude over its direction's mean in this block.
    """

    sums: Float
    samples: npt.NDArray[np.int64]
    counts: Counts


def directional_noise(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
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
    cones
        The directions.
    centre_angstrom
        Middle of the particle, from the first voxel of the core, when the noise of a map is
        measured beside its signal: waves in a cone spread far across its axis, so that only places
        within `ALONG_DEGREES` of the axis, seen from the middle, hold noise alone. None for
        noise without signal.
    """
    count = len(tests.frequencies)
    sums = np.zeros((len(cones), count))
    samples = np.zeros((len(cones), count), dtype=np.int64)
    counts = np.zeros((count, BINS), dtype=np.int64)
    lattices = [
        _NoiseLattice.of(noise, region, core, voxel_angstrom, frequency, centre_angstrom)
        for frequency in tests.frequencies
    ]
    if not any(bool(lattice.inside.any()) for lattice in lattices):
        return DirectionalNoise(sums=sums, samples=samples, counts=counts)
    riesz = riesz_block(noise, voxel_angstrom)
    bands = _Bands.of(tests, riesz)
    found: list[list[torch.Tensor]] = [[] for _ in range(count)]
    for index, cone in enumerate(cones):
        cut = ConeSpectrum.of(riesz, cone, *bands.range)
        for place, lattice in enumerate(lattices):
            values = bands.smooth(cut, place, lattice.reader)[lattice.seen(cone)].clamp_min_(0)
            samples[index, place] = values.numel()
            sums[index, place] = float(values.double().sum())
            found[place].append(values)
    for place, pieces in enumerate(found):
        means = sums[:, place] / np.maximum(samples[:, place], 1)
        audible = np.flatnonzero(means > SILENT * means.max())
        ratios = [pieces[i] / float(means[i]) for i in audible.tolist()]
        if ratios:
            counts[place] = amplitude_histogram(torch.cat(ratios), 1.0)
    return DirectionalNoise(sums=sums, samples=samples, counts=counts)


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


def decide_directions(
    signal: torch.Tensor,
    lattice: Sequence[npt.NDArray[np.float64]],
    points: torch.Tensor,
    voxel_angstrom: Float3,
    tests: LevelTests,
    cones: Cones,
    thresholds: Float,
    state: SweepState,
) -> None:
    """Run a level's tests in every direction and enter them into the state of the points.

    Parameters
    ----------
    signal
        (z, y, x) float32 block: the map, or the mean of the half maps.
    lattice
        Along each axis (z, y, x), where lattice points lie, in voxels of the block.
    points
        (points,) int64 indices of the lattice points that are decided, in C order.
    voxel_angstrom, tests, cones
        As in `directional_noise`.
    thresholds
        (directions, tests), see `thresholds_of`.
    state
        (directions, points); updated in place.
    """
    if not tests.frequencies or not bool(state.alive.any()):
        return
    riesz = riesz_block(signal, voxel_angstrom)
    bands = _Bands.of(tests, riesz)
    reader = Reader(riesz.shape, voxel_angstrom, lattice)
    for direction, cone in enumerate(cones):
        own = SweepState(last=state.last[direction], fails=state.fails[direction])
        if not np.isfinite(thresholds[direction]).any() or not bool(own.alive.any()):
            own.fails.fill_(2)
            continue
        cut = ConeSpectrum.of(riesz, cone, *bands.range)
        for place, index in enumerate(tests.indices):
            level = float(thresholds[direction, place])
            if level == NEVER_PASSED:
                passed = torch.zeros_like(own.fails, dtype=torch.bool)
            else:
                found = bands.smooth(cut, place, reader).view(-1)
                passed = found.index_select(0, points) > level
            own.update(passed, index)
            if index % LOOK_EVERY == 0 and not bool(own.alive.any()):
                break


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bands:
    """The bands of a level's tests, tabulated."""

    bands: tuple[Band, ...]
    tables: tuple[torch.Tensor, ...]
    frequencies: tuple[float, ...]

    @classmethod
    def of(cls, tests: LevelTests, riesz: RieszBlock) -> "_Bands":
        voxel = riesz.voxel_angstrom
        bands = tuple(octave_band(f, tests.ramp, max(voxel)) for f in tests.frequencies)
        tables = tuple(band_table(band, voxel, riesz.spectrum.device) for band in bands)
        return cls(bands=bands, tables=tables, frequencies=tests.frequencies)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest frequency that any of them passes."""
        return min(band.start for band in self.bands), max(band.stop for band in self.bands)

    def smooth(self, cut: ConeSpectrum, place: int, reader: Reader) -> torch.Tensor:
        """Return the smoothed amplitude of one test on a lattice."""
        amplitude = cut.amplitude(self.bands[place], self.tables[place], oversampling=OVERSAMPLING)
        return reader(amplitude, smoothing_angstrom(self.frequencies[place]))


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
