"""MonoDir on one block of one pyramid level: amplitudes in every direction, and decisions.

Vilas, Tagare, Vargas, Carazo, Sorzano 2020 (doi:10.1038/s41467-019-13742-w): MonoRes of the waves
in a cone, for every direction of a half-sphere. Here a resolution r is tested by the amplitude of
one end of the cone in the octave [1 / r, 2 / r] (`distres.kernels.cones`), smoothed by a Gaussian
of 0.4 r and compared with the noise in the same cone.

The amplitude lives on a small box. Smoothing it and reading it at the points of a lattice is one
small matrix along each axis, so that no transform of the whole grid is made after the first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, pi

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch

from distres.kernels.centred import Float3, Shape3
from distres.kernels.conebox import LATTICE_VOX, Cone
from distres.kernels.cones import ConeSpectrum, band_table
from distres.kernels.interpolate import apply_matrices
from distres.kernels.monogenic import Band
from distres.kernels.monores import LOOK_EVERY, LevelTests
from distres.kernels.riesz import DividedSpectrum, divided_spectrum
from distres.kernels.subblocks import Core, living_box
from distres.kernels.sweep import FAILURES_TO_DIE, SweepState, exceeds

# Samples in units of the fewest: most of what the modulus adds beyond lies outside of the Gaussian.
OVERSAMPLING = 1.3
SMOOTHING_WAVELENGTHS = 0.4
# What a block needs around its core: the waves of a cone spread over two wavelengths across it.
HALO_VOX = 48
HALO_WAVELENGTHS = 3.0
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
    """Return the halo of a level: more than `HALO_VOX` only for waves longer than a third of it.

    Whole periods of the lattice of samples, so that the blocks of all tiles have the same.
    """
    if not tests.frequencies:
        return 0
    longest = 1 / (tests.frequencies[0] * max(voxel_angstrom))
    periods = ceil(max(HALO_VOX, HALO_WAVELENGTHS * longest) / LATTICE_VOX)
    return periods * LATTICE_VOX


def on_lattice(block: torch.Tensor) -> torch.Tensor:
    """Mirror a block at its far faces until its edges are whole periods of the samples' lattice."""
    for axis, n in enumerate(block.shape):
        wanted = LATTICE_VOX * scipy.fft.next_fast_len(ceil(n / LATTICE_VOX))
        if wanted > n:
            index = torch.arange(wanted, device=block.device)
            index = torch.where(index < n, index, (2 * n - 1 - index).clamp_min(0))
            block = block.index_select(axis, index)
    return block


def smoothing_angstrom(frequency: float) -> float:
    """Return the standard deviation of the Gaussian that smooths a test's amplitude."""
    return SMOOTHING_WAVELENGTHS / frequency


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

    def __call__(
        self, amplitude: torch.Tensor, sigma_angstrom: float, part: Core | None = None
    ) -> torch.Tensor:
        """Return the smoothed amplitude on the lattice.

        Parameters
        ----------
        amplitude
            (z, y, x) float32 on any box over the block.
        sigma_angstrom
            Standard deviation of the Gaussian; 0 interpolates only.
        part
            The points wanted; None for all.
        """
        wanted = part or (slice(None),) * 3
        z, y, x = (
            self._matrix(axis, m, sigma_angstrom, amplitude.device)[wanted[axis]]
            for axis, m in enumerate(amplitude.shape)
        )
        return apply_matrices(amplitude, (z, y, x))

    def _matrix(self, axis: int, m: int, sigma: float, device: torch.device) -> torch.Tensor:
        """Return (points, samples): trigonometric interpolation times a Gaussian, periodic."""
        key = (axis, m, sigma)
        if key not in self._known:
            n, d = self.shape[axis], self.voxel_angstrom[axis]
            k = np.arange(m // 2 + 1)
            # Every wave but the constant and the highest of an even axis is there twice.
            twice = (k > 0) & (2 * k < m)
            gain = np.exp(-2 * (pi * sigma * k / (n * d)) ** 2) * np.where(twice, 2.0, 1.0) / m
            at = 2 * pi * np.outer(self.places[axis] / n, k)
            of = 2 * pi * np.outer(np.arange(m) / m, k)
            found = (np.cos(at) * gain) @ np.cos(of).T + (np.sin(at) * gain) @ np.sin(of).T
            self._known[key] = torch.from_numpy(found.astype(np.float32)).to(device)
        return self._known[key]


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
    riesz = divided_spectrum(signal, voxel_angstrom)
    bands = BandTables.of(tests, riesz)
    reader = Reader(riesz.shape, voxel_angstrom, lattice)
    whole = tuple(len(places) for places in lattice)
    for direction, cone in enumerate(cones):
        own = SweepState(last=state.last[direction], fails=state.fails[direction])
        levels = thresholds[direction]
        if not np.isfinite(levels).any():
            own.fails.fill_(FAILURES_TO_DIE)
        elif bool(own.alive.any()):
            every = SweepState.start(torch.zeros(whole, dtype=torch.bool, device=points.device))
            every.last.view(-1).index_copy_(0, points, own.last)
            every.fails.view(-1).index_copy_(0, points, own.fails)
            cut = ConeSpectrum.of(riesz, cone, *bands.range)
            _decide_direction(cut, bands, reader, tests, levels, every)
            own.last.copy_(every.last.view(-1).index_select(0, points))
            own.fails.copy_(every.fails.view(-1).index_select(0, points))


def _decide_direction(
    cut: ConeSpectrum,
    bands: "BandTables",
    reader: Reader,
    tests: LevelTests,
    thresholds: Float,
    state: SweepState,
) -> None:
    """Run a level's tests in one direction, on the part of the lattice that is still in the sweep.

    Parameters
    ----------
    cut, bands, reader, tests
        Of the direction, the level and the lattice.
    thresholds
        (tests,).
    state
        (z, y, x) of the lattice; updated in place.
    """
    every = list(zip(tests.indices, thresholds.tolist(), strict=True))
    for start in range(0, len(every), LOOK_EVERY):
        part = living_box(state)
        if part is None:
            return
        # A copy, because what lies together is updated in half the time.
        living = SweepState(last=state.last[part].clone(), fails=state.fails[part].clone())
        for place, (index, threshold) in enumerate(every[start : start + LOOK_EVERY], start):
            if threshold == NEVER_PASSED:
                passed = torch.zeros_like(living.fails, dtype=torch.bool)
            else:
                passed = exceeds(bands.smooth(cut, place, reader, part), threshold)
            living.update(passed, index)
        state.last[part], state.fails[part] = living.last, living.fails


@dataclass(frozen=True, slots=True, kw_only=True)
class BandTables:
    """The bands of a level's tests, tabulated."""

    bands: tuple[Band, ...]
    tables: tuple[torch.Tensor, ...]
    frequencies: tuple[float, ...]

    @classmethod
    def of(cls, tests: LevelTests, riesz: DividedSpectrum) -> "BandTables":
        """Tabulate the bands for the spectrum of a block."""
        voxel = riesz.voxel_angstrom
        bands = tuple(octave_band(f, tests.ramp, max(voxel)) for f in tests.frequencies)
        tables = tuple(band_table(band, voxel, riesz.spectrum.device) for band in bands)
        return cls(bands=bands, tables=tables, frequencies=tests.frequencies)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest frequency that any of them passes."""
        return min(band.start for band in self.bands), max(band.stop for band in self.bands)

    def smooth(
        self, cut: ConeSpectrum, place: int, reader: Reader, part: Core | None = None
    ) -> torch.Tensor:
        """Return the smoothed amplitude of one test on a lattice, or a part of it."""
        amplitude = cut.amplitude(self.bands[place], self.tables[place], oversampling=OVERSAMPLING)
        return reader(amplitude, smoothing_angstrom(self.frequencies[place]), part)
