"""Masks on arrays: low-pass, noise level, components, soft edges.

The steps of an automatic mask, each a pure function. All arrays are (z, y, x); lengths are in
angstrom when a voxel size stands beside them, else in voxels.
"""

from dataclasses import dataclass
from math import ceil, log, pi, sqrt

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import ndtri

Float3 = tuple[float, float, float]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# Order statistics of more samples than this change nothing but the time.
_SAMPLES = 2_000_000
# Half width, in standard deviations, of the interval that holds the central quarter of a Gaussian.
_QUARTER = float(ndtri(0.625))


def gaussian_low_pass(
    volume: Floats,
    voxel_size_angstrom: Float3,
    resolution_angstrom: float,
    *,
    outside: float = 0.0,
) -> Floats:
    """Blur so that a wave of period `resolution_angstrom` keeps half of its amplitude.

    The Gaussian's transfer is ``exp(-2 pi^2 s^2 f^2)``, so ``s = R sqrt(ln 2 / 2) / pi = 0.187 R``.
    It is cut at 4 s.

    Parameters
    ----------
    volume
        (z, y, x) float32.
    voxel_size_angstrom
        (z, y, x); may differ between axes.
    resolution_angstrom
        Period that is halved.
    outside
        Density beyond the box: the solvent's level. Repeating the outermost voxels instead would
        raise the noise at faces and, ten times, at corners, where it would pass for signal.
    """
    sigma = resolution_angstrom * sqrt(log(2) / 2) / pi
    return np.asarray(
        ndimage.gaussian_filter(
            volume,
            [sigma / v for v in voxel_size_angstrom],
            mode="constant",
            cval=outside,
            truncate=4.0,
        ),
        dtype=np.float32,
    )


def sample(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return at most about two million of the values, evenly spread."""
    flat = values.reshape(-1)
    # An odd step walks through all columns of a box whose edges are even.
    return np.asarray(flat[:: (flat.size // _SAMPLES) | 1], dtype=np.float32)


def shortest_quarter(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Find the densest place of a distribution and the spread there.

    The shortest interval that holds a quarter of the values lies in the solvent as long as the
    solvent is the largest part of the box, and no particle, however bright, moves it.

    Returns
    -------
    centre, sigma
        Middle of the interval; its length as the standard deviation of a Gaussian whose central
        quarter has that length.
    """
    ordered = np.sort(sample(values)).astype(np.float64)
    share = max(len(ordered) // 4, 1)
    lengths = ordered[share:] - ordered[:-share]
    if not lengths.size:
        return float(ordered[0]), 0.0
    start = int(lengths.argmin())
    centre = (ordered[start] + ordered[start + share]) / 2
    return float(centre), float(lengths[start] / (2 * _QUARTER))


def robust_sigma(values: npt.NDArray[np.float32]) -> float:
    """Return the standard deviation by the median absolute deviation (1.4826 of it)."""
    few = sample(values).astype(np.float64)
    return float(1.4826 * np.median(np.abs(few - np.median(few))))


def one_sided_sigma(values: npt.NDArray[np.float32], centre: float) -> float:
    """Return the spread of noise around a known `centre`, from the side with less on it.

    Density adds to one side only; the other side is noise, and a Gaussian's median absolute
    deviation is the same on both.
    """
    few = sample(values).astype(np.float64) - centre
    above, below = few[few > 0], -few[few < 0]
    quiet = below if below.sum() <= above.sum() else above
    return float(1.4826 * np.median(quiet)) if quiet.size else 0.0


def flat_region(volume: Floats, centre: float, *, tolerance: float = 1e-5) -> Bools:
    """Mark the voxels that hold the volume's most common value: what an earlier mask blanked.

    Parameters
    ----------
    volume
        (z, y, x) float32.
    centre
        The most common value (`shortest_quarter`).
    tolerance
        Deviation from the most common value, as a fraction of the largest deviation, that still
        counts as equal: resampled zeros are not exact.

    Returns
    -------
    numpy.ndarray
        (z, y, x) bool.
    """
    allowed = tolerance * float(max(volume.max() - centre, centre - volume.min()))
    return np.asarray(np.abs(volume - np.float32(centre)) <= allowed)


def significance_factor(count: int, false_positive_level: float) -> float:
    """Return how many sigma exceed Gaussian noise anywhere among `count` voxels.

    Bonferroni's bound: with probability `false_positive_level` at the most, any of `count` noise
    voxels, correlated or not, lies above.
    """
    return float(-ndtri(false_positive_level / count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Connected regions that were kept, and what was not.

    Attributes
    ----------
    kept
        (z, y, x) bool.
    kept_count, removed_count
        How many regions.
    largest_vox
        Voxels of the largest region.
    """

    kept: Bools
    kept_count: int
    removed_count: int
    largest_vox: int


def large_components(binary: Bools, *, fraction: float, smallest_vox: float = 1.0) -> Components:
    """Keep face-connected regions of at least `fraction` of the largest and `smallest_vox` voxels.

    Parameters
    ----------
    binary
        (z, y, x) bool.
    fraction
        Of the largest region's volume, 0 to 1.
    smallest_vox
        Regions below are dropped even when they are the largest.
    """
    labels, count = ndimage.label(binary)
    if not count:
        return Components(
            kept=np.zeros(binary.shape, dtype=bool), kept_count=0, removed_count=0, largest_vox=0
        )
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    largest = int(sizes.max())
    keep = sizes >= max(fraction * largest, smallest_vox, 1)
    kept_count = int(keep.sum())
    return Components(
        kept=keep[labels],
        kept_count=kept_count,
        removed_count=count - kept_count,
        largest_vox=largest,
    )


def fill_holes(binary: Bools) -> Bools:
    """Fill the hollows that no path of face neighbours joins to the box's surface."""
    return np.asarray(ndimage.binary_fill_holes(binary))


def halo_vox(reach_angstrom: float, voxel_size_angstrom: Float3) -> tuple[int, int, int]:
    """Return how far beyond a block a distance of `reach_angstrom` looks, in voxels per axis."""
    z, y, x = (ceil(reach_angstrom / v) + 1 for v in voxel_size_angstrom)
    return z, y, x


def upsample(
    coarse: Floats,
    *,
    first: tuple[int, int, int],
    start: tuple[int, int, int],
    factor: int,
    shape: tuple[int, int, int],
) -> Floats:
    """Interpolate a block of a coarse level linearly at fine voxels.

    Coarse voxel i lies on fine voxel ``i * factor``. Weights are computed from the fine voxel's
    place in the whole volume, so that every block gives the same bits.

    Parameters
    ----------
    coarse
        Block of the coarse level; it must cover the fine block as far as the level reaches.
        Beyond its last voxel, that voxel repeats.
    first
        Place of the coarse block's first voxel in its level.
    start, shape
        Fine block wanted: first voxel in the volume, and voxels.
    factor
        Fine voxels per coarse voxel along every axis.
    """
    out = coarse
    for axis in range(3):
        place = np.arange(start[axis], start[axis] + shape[axis])
        low = place // factor - first[axis]
        weight = ((place % factor) / factor).astype(np.float32)
        last = out.shape[axis] - 1
        low_values = np.take(out, np.clip(low, 0, last), axis=axis)
        if not weight.any():
            out = low_values
            continue
        high_values = np.take(out, np.clip(low + 1, 0, last), axis=axis)
        weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
        out = low_values + weight * (high_values - low_values)
    return np.asarray(out, dtype=np.float32)


def soft_mask(
    binary: Bools,
    voxel_size_angstrom: Float3,
    *,
    dilation_angstrom: float,
    edge_angstrom: float,
) -> Floats:
    """Grow a binary region and let it fall off as a raised cosine.

    A voxel at distance d from the nearest voxel of the region holds 1 up to the dilation D, then
    ``(1 + cos(pi (d - D) / E)) / 2`` over the edge E, then 0. Distances are exact Euclidean
    distances between voxel centres. A block that reaches D + E beyond the voxels of interest
    (`halo_vox`) gives them the same values as the whole volume.

    Returns
    -------
    numpy.ndarray
        (z, y, x) float32 in [0, 1].
    """
    if not binary.any():
        return np.zeros(binary.shape, dtype=np.float32)
    if binary.all():
        return np.ones(binary.shape, dtype=np.float32)
    mask = np.zeros(binary.shape, dtype=np.float32)
    # Beyond its reach the region leaves zeros: distances there are not worth computing.
    near = _neighbourhood(binary, halo_vox(dilation_angstrom + edge_angstrom, voxel_size_angstrom))
    distance = ndimage.distance_transform_edt(~binary[near], sampling=voxel_size_angstrom)
    # Two equally near voxels may differ in the last bit of the float64 distance, depending on
    # which of them the block shows; float32 does not see it.
    beyond = np.asarray(distance, dtype=np.float32) - np.float32(dilation_angstrom)
    if edge_angstrom <= 0:
        mask[near] = beyond <= 0
    else:
        phase = np.clip(beyond / np.float32(edge_angstrom), 0, 1)
        mask[near] = (1 + np.cos(np.float32(np.pi) * phase)) / 2
    return mask


def bounds(region: Bools) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds all true voxels; there must be some."""
    # Six times as fast as scipy's find_objects.
    rows = np.any(region, axis=2)
    lines = (rows.any(axis=1), rows.any(axis=0), np.any(region, axis=0).any(axis=0))
    z, y, x = (slice(int(line.argmax()), line.size - int(line[::-1].argmax())) for line in lines)
    return z, y, x


def _neighbourhood(binary: Bools, reach_vox: tuple[int, int, int]) -> tuple[slice, ...]:
    """Return the box around the region, `reach_vox` voxels larger on every side."""
    return tuple(
        slice(max(s.start - reach, 0), s.stop + reach)
        for s, reach in zip(bounds(binary), reach_vox, strict=True)
    )


def block_max(block: Floats, factor: int) -> Floats:
    """Return the largest value of every cell of `factor` voxels along each axis.

    Cells at the far faces may be cut short; the result has ``ceil(n / factor)`` voxels per axis.
    """
    padding = [(0, -n % factor) for n in block.shape]
    padded = np.pad(block, padding, mode="edge")
    z, y, x = (n // factor for n in padded.shape)
    return np.asarray(padded.reshape(z, factor, y, factor, x, factor).max(axis=(1, 3, 5)))
