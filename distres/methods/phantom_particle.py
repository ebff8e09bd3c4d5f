"""The particle of a slab phantom: what it is made of, its orientations, its true FSC."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from distres.errors import UsageError
from distres.io.grid import Shape3
from distres.io.structures import read_structure
from distres.kernels.chains import PowerCurve, packed_volume, shell_power, territories
from distres.kernels.density import Scatterers, density_map
from distres.kernels.noise import random_stream
from distres.kernels.phantom import first_crossing_angstrom
from distres.kernels.slab import SlabSpec, Templates

DoubleArray = npt.NDArray[np.float64]

_TABLE = 256
_LUMPS, _TURNS = 2001, 2002
_VOXELS_PER_LUMP = 5  # enough for a flat spectrum, few enough for strong contrast
# Carbon (International Tables C, 4.3.2.2): what the lumps of a blob particle scatter like.
_CARBON = (
    (0.0893, 0.2563, 0.7570, 1.0487, 0.3575),
    (0.2465, 1.7100, 6.4094, 18.6113, 50.2523),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabParameters:
    """What a slab phantom looks like.

    Attributes
    ----------
    shape
        Voxels (z, y, x).
    voxel_size_angstrom
        Edge of a voxel.
    structure
        Structure file of the particle; None makes a random blob.
    assembly
        Biological assembly of the structure.
    diameter_angstrom
        Diameter of the blob when there is no structure.
    b_factor
        B of the atoms in square angstrom; None takes 40 square voxels, which leaves 0.7 % of the
        power at Nyquist.
    orientations
        Number of random orientations that particles choose from.
    ice, filling, depth_gain, edge_gain, tilt_range_degrees
        As `SlabSpec`.
    snr
        Variance of the density inside a particle over that of the noise at the centre.
    seed
        Which places, orientations and noise.
    thresholds
        FSC thresholds of the truth maps.
    """

    shape: Shape3 = (96, 256, 256)
    voxel_size_angstrom: float = 8.0
    structure: Path | None = None
    assembly: str | None = None
    diameter_angstrom: float = 200.0
    b_factor: float | None = None
    orientations: int = 16
    ice: float = 0.6
    filling: float = 0.8
    depth_gain: float = 1.0
    edge_gain: float = 0.5
    tilt_range_degrees: tuple[float, float] = (-60.0, 60.0)
    snr: float = 1.0
    seed: int = 0
    thresholds: tuple[float, ...] = (0.5, 0.143)

    def __post_init__(self) -> None:
        if not (self.voxel_size_angstrom > 0 and self.snr > 0):
            raise UsageError(
                f"voxel size ({self.voxel_size_angstrom:g}) and signal-to-noise ratio "
                f"({self.snr:g}) must be positive"
            )
        if self.structure is None and not self.diameter_angstrom >= 4 * self.voxel_size_angstrom:
            raise UsageError(
                f"a blob of {self.diameter_angstrom:g} angstrom is smaller than four voxels of "
                f"{self.voxel_size_angstrom:g}; use a larger --diameter or smaller voxels"
            )
        if self.orientations < 1 or (self.b_factor or 0) < 0:
            raise UsageError(
                f"orientations ({self.orientations}) must be 1 or more and B ({self.b_factor}) "
                "0 or more"
            )

    def spec(self, noise_sigma: float) -> SlabSpec:
        """Return the phantom the kernel computes, under noise of a given strength."""
        return SlabSpec(
            shape=self.shape,
            seed=self.seed,
            ice=self.ice,
            filling=self.filling,
            noise_sigma=noise_sigma,
            depth_gain=self.depth_gain,
            edge_gain=self.edge_gain,
            tilt_range_degrees=self.tilt_range_degrees,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabTruth:
    """What the true FSC of a particle follows from.

    Attributes
    ----------
    curve
        Power of the particle, averaged over its orientations.
    voxel_size_angstrom
        Edge of a voxel.
    """

    curve: PowerCurve
    voxel_size_angstrom: float

    def fsc(self, noise_sd: float, frequency_per_angstrom: DoubleArray) -> DoubleArray:
        """Return the FSC among measured frequencies, under noise of this strength there."""
        signal = self.curve.at(frequency_per_angstrom)
        return np.asarray(signal / (signal + max(noise_sd, 1e-150) ** 2))

    def resolution_table(self, largest: float, threshold: float) -> tuple[DoubleArray, DoubleArray]:
        """Return noise strengths and the resolution under each."""
        strengths = np.linspace(0, largest, _TABLE)
        values = [
            first_crossing_angstrom(
                partial(self.fsc, float(strength)), threshold, self.voxel_size_angstrom
            )
            for strength in strengths
        ]
        return strengths, np.array(values)


def make_templates(parameters: SlabParameters) -> tuple[Templates, SlabTruth]:
    """Build the particle in its orientations and measure its power."""
    atoms, volume_vox = _particle(parameters)
    voxel = parameters.voxel_size_angstrom
    centred = atoms.positions_angstrom - atoms.positions_angstrom.mean(axis=0)
    # Atoms of a blob lie two voxels apart: reach across the gaps, then take a rim off again.
    blob = parameters.structure is None
    reach = 2 * voxel if blob else max(3.0, voxel)
    diameter = 2 * float(np.linalg.norm(centred, axis=1).max()) + 2 * reach
    edge = 2 * int(np.ceil((diameter / 2 + 3 * voxel) / voxel))
    draw = random_stream(parameters.seed, _TURNS, 0, 0, 0)
    turns = Rotation.random(parameters.orientations, rng=draw).as_matrix()
    shift = np.full(3, edge // 2 * voxel)
    densities = np.empty((len(turns), edge, edge, edge), np.float32)
    masks = np.empty(densities.shape, bool)
    power: list[DoubleArray] = []
    frequency = np.empty(0)
    for i, turn in enumerate(turns):
        turned = replace(atoms, positions_angstrom=centred @ turn.T + shift)
        densities[i] = density_map(turned, (edge, edge, edge), voxel)
        ones = np.ones(len(atoms), np.intp)
        masks[i] = territories(turned.positions_angstrom, ones, masks[i].shape, voxel, reach) > 0
        if blob:
            masks[i] = ndimage.binary_erosion(masks[i])
        frequency, total = shell_power(densities[i], voxel)
        power.append(total / volume_vox)
    curve = PowerCurve(
        frequency_per_angstrom=frequency,
        power=np.mean(power, axis=0),
        volume_vox=volume_vox,
        variance=float(densities[masks].var()),
    )
    templates = Templates(densities=densities, masks=masks, diameter_vox=diameter / voxel)
    return templates, SlabTruth(curve=curve, voxel_size_angstrom=voxel)


def _particle(parameters: SlabParameters) -> tuple[Scatterers, float]:
    """Return atoms, of a structure or random in a lumpy ball, and their volume in voxels."""
    voxel = parameters.voxel_size_angstrom
    b_factor = 40 * voxel**2 if parameters.b_factor is None else parameters.b_factor
    if parameters.structure is not None:
        atoms = read_structure(parameters.structure, assembly=parameters.assembly).atoms
        volume = packed_volume(atoms.positions_angstrom)
        return replace(atoms, b_factors=np.full(len(atoms), b_factor)), volume / voxel**3
    draw = random_stream(parameters.seed, _LUMPS, 0, 0, 0)
    radius = parameters.diameter_angstrom / 2
    count = int(8 * radius**3 / voxel**3 / _VOXELS_PER_LUMP)
    points = draw.uniform(-radius, radius, (count, 3))
    direction = points / np.linalg.norm(points, axis=1, keepdims=True)
    waves = draw.standard_normal((5, 3)) * 2
    lumps = np.sin(direction @ waves.T + draw.uniform(0, 2 * np.pi, 5)).mean(axis=1)
    inside = np.linalg.norm(points, axis=1) < radius * (0.85 + 0.15 * lumps)
    points = points[inside]
    blob = Scatterers(
        positions_angstrom=points,
        kinds=np.zeros(len(points), np.intp),
        form_factors=np.array([_CARBON]),
        b_factors=np.full(len(points), b_factor),
        occupancies=np.ones(len(points)),
    )
    return blob, float(_VOXELS_PER_LUMP * len(points))
