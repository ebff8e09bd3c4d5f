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
import torch

from distres.kernels.centred import Float3, Shape3
from distres.kernels.cones import Cone, ConeSpectrum, band_table
from distres.kernels.interpolate import apply_matrices
from distres.kernels.monogenic import Band
from distres.kernels.monores import LOOK_EVERY, LevelTests
from distres.kernels.riesz import DividedSpectrum, divided_spectrum
from distres.kernels.sweep import FAILURES_TO_DIE, SweepState

# Box edges in units of the smallest: what the modulus adds beyond lies outside of the Gaussian.
OVERSAMPLING = 1.25
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
    """Return the halo of a level: more than `HALO_VOX` only for waves longer than a third of it."""
    if not tests.frequencies:
        return 0
    longest = 1 / (tests.frequencies[0] * max(voxel_angstrom))
    return max(HALO_VOX, ceil(HALO_WAVELENGTHS * longest))


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
        return apply_matrices(amplitude, (z, y, x))

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
    for direction, cone in enumerate(cones):
        own = SweepState(last=state.last[direction], fails=state.fails[direction])
        if not np.isfinite(thresholds[direction]).any() or not bool(own.alive.any()):
            own.fails.fill_(FAILURES_TO_DIE)
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

    def smooth(self, cut: ConeSpectrum, place: int, reader: Reader) -> torch.Tensor:
        """Return the smoothed amplitude of one test on a lattice."""
        amplitude = cut.amplitude(self.bands[place], self.tables[place], oversampling=OVERSAMPLING)
        return reader(amplitude, smoothing_angstrom(self.frequencies[place]))
