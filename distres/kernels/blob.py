"""The shape of the blob phantom and the atoms in it, as functions of the place."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError
from distres.kernels.noise import (
    BLOCK_VOX,
    Noise,
    Region,
    blocks_of,
    random_stream,
    region_shape,
)

Shape3 = tuple[int, int, int]
FloatArray = npt.NDArray[np.float32]

OCCUPANCY = 0.05
WEIGHTS = (6.0, 7.0, 8.0, 16.0)
PROBABILITIES = (0.60, 0.20, 0.18, 0.02)
BORDER_MARGIN_ANGSTROM = 12.0
SURFACE_MARGIN_ANGSTROM = 6.0

_BALL_RADIUS = 0.35  # of the box, along each axis
_LUMP_HEIGHT = 0.025  # of the radius, amplitude of one wave
_LUMP_WAVES = 6
_LUMP_LIMIT = _LUMP_WAVES * _LUMP_HEIGHT
# Streams of a seed; 1 and 2 are the halves' noise.
_ATOMS, _LUMPS = 0, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSpec:
    """Everything that decides a blob phantom.

    Attributes
    ----------
    shape
        Voxels (z, y, x).
    seed
        Which atoms, lumps and noise.
    voxel_size_angstrom
        Edge of a voxel.
    b_factors
        B in square angstrom of the quadrants (y<0, x<0), (y<0, x>=0), (y>=0, x<0), (y>=0, x>=0),
        coordinates counted from the centre of the box.
    noise
        Noise of each half.
    """

    shape: Shape3
    seed: int = 0
    voxel_size_angstrom: float = 1.0
    b_factors: tuple[float, float, float, float] = (40.0, 120.0, 300.0, 700.0)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        if min(self.shape) < 16:
            raise UsageError(f"a blob phantom needs 16 voxels or more per axis, not {self.shape}")
        if not self.voxel_size_angstrom > 0:
            raise UsageError(f"the voxel size must be positive, not {self.voxel_size_angstrom}")
        if len(self.b_factors) != 4 or min(self.b_factors) < 0:
            raise UsageError(
                f"a blob phantom has four B-factors of 0 or more, not {self.b_factors}"
            )
        if min(self.noise.sigma, self.noise.excess, self.noise.b_factor) < 0:
            raise UsageError(f"strength and colour of noise cannot be negative: {self.noise}")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"a seed lies between 0 and 2^64 - 1, not {self.seed}")


def atoms_in(spec: BlobSpec, region: Region) -> FloatArray:
    """Return the scattering weight of every voxel, 0 where there is no atom."""
    out = np.zeros(region_shape(region), np.float32)
    steps = np.cumsum(np.array(PROBABILITIES)[:-1]) * OCCUPANCY
    weights = np.array(WEIGHTS, np.float32)
    edge = (BLOCK_VOX,) * 3
    for place, here, inner in blocks_of(region):
        z, y, x = (slice(i * BLOCK_VOX, (i + 1) * BLOCK_VOX) for i in place)
        if _is_outside(spec, (z, y, x)):
            continue
        draw = random_stream(spec.seed, _ATOMS, *place).random(edge, np.float32)
        taken = (draw < OCCUPANCY) & (depth_angstrom(spec, (z, y, x)) >= 0)
        block = np.where(taken, weights[np.searchsorted(steps, draw)], np.float32(0))
        out[here] = block[inner]
    return out


def _axes(spec: BlobSpec, region: Region) -> list[FloatArray]:
    """Return voxel coordinates from the box centre, in voxels, ready to broadcast."""
    z, y, x = (
        np.arange(s.start, s.stop, dtype=np.float32) - n // 2
        for s, n in zip(region, spec.shape, strict=True)
    )
    return [z[:, None, None], y[None, :, None], x[None, None, :]]


@lru_cache(maxsize=8)
def _lumps(seed: int) -> tuple[tuple[float, ...], ...]:
    """Return the waves that make the ball lumpy: direction (z, y, x), phase."""
    draw = random_stream(seed, _LUMPS, 0, 0, 0)
    waves = []
    for _ in range(_LUMP_WAVES):
        direction = draw.standard_normal(3)
        direction *= draw.uniform(3, 7) / np.linalg.norm(direction)
        waves.append((*map(float, direction), float(draw.uniform(0, 2 * np.pi))))
    return tuple(waves)


def depth_angstrom(spec: BlobSpec, region: Region) -> FloatArray:
    """Return how far below the surface of the ball voxels lie (negative outside)."""
    axes = _axes(spec, region)
    radii = [np.float32(_BALL_RADIUS * n) for n in spec.shape]
    z, y, x = (a / r for a, r in zip(axes, radii, strict=True))
    distance = np.sqrt(z * z + y * y + x * x)
    surface = np.ones_like(distance)
    for kz, ky, kx, phase in _lumps(spec.seed):
        # Waves of the direction alone: the same lump all the way from the centre outwards.
        wave = (np.float32(kz) * z + np.float32(ky) * y + np.float32(kx) * x) / np.maximum(
            distance, np.float32(1e-6)
        )
        surface += np.float32(_LUMP_HEIGHT) * np.sin(wave + np.float32(phase))
    scale = np.float32(min(radii) * spec.voxel_size_angstrom)
    return np.asarray((surface - distance) * scale, np.float32)


def _is_outside(spec: BlobSpec, region: Region) -> bool:
    """Say that no voxel of the region can lie in the ball, without looking at each."""
    square = 0.0
    for s, n in zip(region, spec.shape, strict=True):
        nearest = max(s.start - n // 2, n // 2 - (s.stop - 1), 0)
        square += (nearest / (_BALL_RADIUS * n)) ** 2
    return square > (1 + _LUMP_LIMIT) ** 2


def quadrants_of(spec: BlobSpec, region: Region) -> npt.NDArray[np.uint8]:
    """Return the quadrant 1-4 of every voxel, in the ball or not."""
    z, y, x = _axes(spec, region)
    plane = (1 + 2 * (y >= 0) + (x >= 0)).astype(np.uint8)
    return np.broadcast_to(plane, np.broadcast_shapes(z.shape, plane.shape))


def is_core(spec: BlobSpec, region: Region, depth: FloatArray) -> npt.NDArray[np.bool_]:
    """Say which voxels are far from the surface and from every border between quadrants."""
    _, y, x = _axes(spec, region)
    margin = BORDER_MARGIN_ANGSTROM / spec.voxel_size_angstrom
    # The border lies half a voxel below coordinate 0.
    far = (np.abs(y + 0.5) >= margin) & (np.abs(x + 0.5) >= margin)
    return np.asarray(far & (depth >= SURFACE_MARGIN_ANGSTROM))
