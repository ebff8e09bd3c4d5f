"""The blob phantom: half maps whose local FSC is known by construction.

Random atoms fill a lumpy ball. Four quadrants are blurred with four B-factors and each half gets
its own noise, so that inside quadrant q

    FSC(k) = S0 exp(-B_q k^2 / 2) / (S0 exp(-B_q k^2 / 2) + N(k)),

S0 being the power of the atoms per voxel and N that of the noise. Atoms that fall on voxels
independently of each other have a white spectrum: with occupancy p and weight w,
``S0 = p <w^2> - p^2 <w>^2`` at every frequency apart from those of the ball's own shape.

Everything is a function of the place: any region can be computed alone and equals the cut from
the whole, bit for bit.
"""

from collections.abc import Callable, Sequence
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
    blur,
    blur_kernel,
    grow,
    noise_region,
    random_stream,
    region_shape,
)

Shape3 = tuple[int, int, int]
FloatArray = npt.NDArray[np.float32]
FrequencyArray = npt.NDArray[np.float64]

OCCUPANCY = 0.05
WEIGHTS = (6.0, 7.0, 8.0, 16.0)
PROBABILITIES = (0.60, 0.20, 0.18, 0.02)
BORDER_MARGIN_ANGSTROM = 12.0
SURFACE_MARGIN_ANGSTROM = 6.0

_BALL_RADIUS = 0.35  # of the box, along each axis
_LUMP_HEIGHT = 0.025  # of the radius, amplitude of one wave
_LUMP_WAVES = 6
_LUMP_LIMIT = _LUMP_WAVES * _LUMP_HEIGHT
_ATOMS, _HALF1, _HALF2, _LUMPS = 0, 1, 2, 1000


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRegion:
    """A region of a blob phantom, all arrays (z, y, x).

    Attributes
    ----------
    half1, half2
        float32 half maps.
    mask
        float32, 1 inside the ball.
    labels
        uint8, 1-4 in the quadrants' cores (12 A or more from a border between quadrants, 6 A from
        the ball's surface), 0 elsewhere.
    quadrants
        uint8, 1-4 inside the ball, 0 outside.
    """

    half1: FloatArray
    half2: FloatArray
    mask: FloatArray
    labels: npt.NDArray[np.uint8]
    quadrants: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobTruth:
    """The true local FSC of a blob phantom."""

    spec: BlobSpec

    @property
    def signal_power(self) -> float:
        """S0: power of the atoms per voxel."""
        p, w, q = OCCUPANCY, np.array(WEIGHTS), np.array(PROBABILITIES)
        return float(p * (q @ w**2) - (p * (q @ w)) ** 2)

    def fsc(self, quadrant: int, frequency_per_angstrom: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the true FSC of quadrant 1-4 at frequencies in 1/angstrom."""
        k = np.asarray(frequency_per_angstrom, np.float64)
        signal = self.signal_power * np.exp(-self.spec.b_factors[quadrant - 1] * k**2 / 2)
        return np.asarray(signal / np.maximum(signal + self.spec.noise.power(k), 1e-300))

    def resolution_angstrom(self, quadrant: int, threshold: float) -> float:
        """Return where the FSC of quadrant 1-4 first falls below a threshold, else Nyquist."""
        return first_crossing_angstrom(
            lambda k: self.fsc(quadrant, k), threshold, self.spec.voxel_size_angstrom
        )

    def as_json(self, thresholds: Sequence[float] = (0.5, 0.143)) -> dict[str, object]:
        """Return the truth as JSON values."""
        noise = self.spec.noise
        return {
            "kind": "blob",
            "shape": list(self.spec.shape),
            "axes": "zyx",
            "seed": self.spec.seed,
            "voxel_size_angstrom": self.spec.voxel_size_angstrom,
            "b_factors": list(self.spec.b_factors),
            "noise": {
                "sigma": noise.sigma,
                "excess": noise.excess,
                "b_factor": noise.b_factor,
            },
            "signal_power": self.signal_power,
            "quadrants": [
                {
                    "label": q,
                    "b_factor": self.spec.b_factors[q - 1],
                    "resolution_angstrom": {
                        str(t): self.resolution_angstrom(q, t) for t in thresholds
                    },
                }
                for q in (1, 2, 3, 4)
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPhantom:
    """A whole blob phantom; the arrays are those of `BlobRegion`."""

    half1: FloatArray
    half2: FloatArray
    mask: FloatArray
    labels: npt.NDArray[np.uint8]
    quadrants: npt.NDArray[np.uint8]
    truth: BlobTruth


def first_crossing_angstrom(
    curve: Callable[[FrequencyArray], FrequencyArray], threshold: float, voxel_size_angstrom: float
) -> float:
    """Return the resolution at which a curve first falls below a threshold.

    The curve is sampled at 20 000 frequencies up to Nyquist and interpolated between two of them.

    Parameters
    ----------
    curve
        Function of an array of frequencies in 1/angstrom.
    threshold
        Value to fall below.
    voxel_size_angstrom
        Edge of a voxel; a curve that stays above the threshold gives its Nyquist resolution.
    """
    frequency = np.linspace(0, 0.5 / voxel_size_angstrom, 20001)[1:]
    values = curve(frequency)
    below = np.flatnonzero(values < threshold)
    if below.size == 0:
        return 2 * voxel_size_angstrom
    i = int(below[0])
    if i == 0:
        return float(1 / frequency[0])
    share = (values[i - 1] - threshold) / (values[i - 1] - values[i])
    return float(1 / (frequency[i - 1] + share * (frequency[i] - frequency[i - 1])))


def blob_halves(
    shape: Shape3,
    seed: int = 0,
    voxel_size_angstrom: float = 1.0,
    b_factors: tuple[float, float, float, float] = (40.0, 120.0, 300.0, 700.0),
    noise: Noise | float | None = None,
) -> BlobPhantom:
    """Make a whole blob phantom in memory.

    Parameters
    ----------
    shape
        Voxels (z, y, x).
    seed
        Which atoms, lumps and noise.
    voxel_size_angstrom
        Edge of a voxel.
    b_factors
        One B for each quadrant, in square angstrom.
    noise
        Standard deviation of white noise, or a `Noise`; None takes the default, 0 means none.
    """
    if noise is None:
        noise = Noise()
    elif not isinstance(noise, Noise):
        noise = Noise(sigma=float(noise))
    spec = BlobSpec(
        shape=shape,
        seed=seed,
        voxel_size_angstrom=voxel_size_angstrom,
        b_factors=b_factors,
        noise=noise,
    )
    whole = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    part = blob_region(spec, whole)
    return BlobPhantom(
        half1=part.half1,
        half2=part.half2,
        mask=part.mask,
        labels=part.labels,
        quadrants=part.quadrants,
        truth=BlobTruth(spec=spec),
    )


def blob_region(spec: BlobSpec, region: Region) -> BlobRegion:
    """Compute one region of a blob phantom.

    Parameters
    ----------
    spec
        The phantom.
    region
        Slices (z, y, x) with start and stop inside the volume.
    """
    signal = _signal(spec, region)
    halves = []
    for stream in (_HALF1, _HALF2):
        half = noise_region(
            spec.noise,
            region,
            seed=spec.seed,
            stream=stream,
            voxel_size_angstrom=spec.voxel_size_angstrom,
        )
        half += signal
        halves.append(half)
    depth = _depth_angstrom(spec, region)
    quadrants = np.where(depth >= 0, _quadrants(spec, region), np.uint8(0))
    labels = np.where(_is_core(spec, region, depth), quadrants, np.uint8(0))
    return BlobRegion(
        half1=halves[0],
        half2=halves[1],
        mask=(depth >= 0).astype(np.float32),
        labels=labels,
        quadrants=quadrants,
    )


def _signal(spec: BlobSpec, region: Region) -> FloatArray:
    out = np.zeros(region_shape(region), np.float32)
    kernels = [blur_kernel(b, spec.voxel_size_angstrom) for b in spec.b_factors]
    widest = max(len(kernel) // 2 for kernel in kernels)
    atoms = _atoms(spec, grow(region, widest))
    if not atoms.any():
        return out
    quadrants = _quadrants(spec, grow(region, widest))
    for label, kernel in enumerate(kernels, start=1):
        radius = len(kernel) // 2
        spare = widest - radius
        cut = tuple(slice(spare, n - spare) for n in atoms.shape)
        mine = np.where(quadrants[cut] == label, atoms[cut], np.float32(0))
        box = _bounding_box(mine, radius)
        if box is not None:
            # Voxels beyond the kernel's reach of every atom are exactly 0: leave them out.
            here = tuple(slice(s.start, s.stop - 2 * radius) for s in box)
            out[here] += blur(mine[box], kernel)
    return out


def _bounding_box(block: FloatArray, radius: int) -> Region | None:
    """Return the part of a haloed block that atoms can reach, halo included; None without atoms."""
    box = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        taken = np.flatnonzero(block.any(axis=others))
        if taken.size == 0:
            return None
        # An atom at i reaches i - radius to i + radius, whose blur needs as much again.
        lo, hi = int(taken[0]) - 2 * radius, int(taken[-1]) + 2 * radius + 1
        box.append(slice(max(lo, 0), min(hi, block.shape[axis])))
    return box[0], box[1], box[2]


def _atoms(spec: BlobSpec, region: Region) -> FloatArray:
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
        taken = (draw < OCCUPANCY) & (_depth_angstrom(spec, (z, y, x)) >= 0)
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


def _depth_angstrom(spec: BlobSpec, region: Region) -> FloatArray:
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


def _quadrants(spec: BlobSpec, region: Region) -> npt.NDArray[np.uint8]:
    """Return the quadrant 1-4 of every voxel, in the ball or not."""
    z, y, x = _axes(spec, region)
    plane = (1 + 2 * (y >= 0) + (x >= 0)).astype(np.uint8)
    return np.broadcast_to(plane, np.broadcast_shapes(z.shape, plane.shape))


def _is_core(spec: BlobSpec, region: Region, depth: FloatArray) -> npt.NDArray[np.bool_]:
    """Say which voxels are far from the surface and from every border between quadrants."""
    _, y, x = _axes(spec, region)
    margin = BORDER_MARGIN_ANGSTROM / spec.voxel_size_angstrom
    # The border lies half a voxel below coordinate 0.
    far = (np.abs(y + 0.5) >= margin) & (np.abs(x + 0.5) >= margin)
    return np.asarray(far & (depth >= SURFACE_MARGIN_ANGSTROM))
