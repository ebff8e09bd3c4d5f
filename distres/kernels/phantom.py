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
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.kernels.blob import (
    OCCUPANCY,
    PROBABILITIES,
    WEIGHTS,
    BlobSpec,
    FloatArray,
    Shape3,
    atoms_in,
    depth_angstrom,
    is_core,
    quadrants_of,
)
from distres.kernels.masks import bounds
from distres.kernels.noise import (
    Noise,
    Region,
    blur,
    blur_kernel,
    grow,
    noise_region,
    region_shape,
)

FrequencyArray = npt.NDArray[np.float64]

_HALF1, _HALF2 = 1, 2  # streams of a seed


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
    depth = depth_angstrom(spec, region)
    quadrants = np.where(depth >= 0, quadrants_of(spec, region), np.uint8(0))
    labels = np.where(is_core(spec, region, depth), quadrants, np.uint8(0))
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
    atoms = atoms_in(spec, grow(region, widest))
    if not atoms.any():
        return out
    quadrants = quadrants_of(spec, grow(region, widest))
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
    if not block.any():
        return None
    # An atom at i reaches i - radius to i + radius, whose blur needs as much again.
    z, y, x = (
        slice(max(s.start - 2 * radius, 0), min(s.stop + 2 * radius, n))
        for s, n in zip(bounds(block != 0), block.shape, strict=True)
    )
    return z, y, x
