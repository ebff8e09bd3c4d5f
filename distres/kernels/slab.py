"""Tomogram phantoms: a slab of particles seen through a missing wedge, under uneven noise.

The tilt axis is y, so the wedge acts on planes of constant y, each by itself: any range of rows
can be computed alone, exactly, from whole (z, x) planes. Particles and noise are filtered
together, so the spectrum of a half is empty where no tilt has measured.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from distres.errors import UsageError
from distres.kernels.noise import random_stream, white_region

Shape3 = tuple[int, int, int]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

_EVEN, _ODD, _PLACES = 1, 2, 2000
_SPACING = 1.1  # of the particle's diameter, between centres at the least


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabSpec:
    """Everything that decides a slab phantom, apart from its particle.

    Attributes
    ----------
    shape
        Voxels (z, y, x).
    seed
        Which places, orientations and noise.
    ice
        Thickness of the slab that holds particles, as a fraction of the volume's z.
    filling
        Fraction of the places that hold a particle.
    noise_sigma
        Standard deviation of the noise at the centre, before the wedge removes its part.
    depth_gain, edge_gain
        Growth of the noise's standard deviation, relative to the centre, at the top and bottom of
        the volume and at its sides.
    tilt_range_degrees
        First and last tilt about y. Tilt t measures frequencies along (x, z) = (cos t, sin t).
    """

    shape: Shape3
    seed: int = 0
    ice: float = 0.6
    filling: float = 0.8
    noise_sigma: float = 1.0
    depth_gain: float = 1.0
    edge_gain: float = 0.5
    tilt_range_degrees: tuple[float, float] = (-60.0, 60.0)

    def __post_init__(self) -> None:
        low, high = self.tilt_range_degrees
        if not -90 <= low < high <= 90:
            raise UsageError(f"tilts run from -90 to 90 degrees at most, not {low:g} to {high:g}")
        if not (0 < self.ice <= 1 and 0 < self.filling <= 1):
            raise UsageError(
                f"ice ({self.ice:g}) and filling ({self.filling:g}) are fractions between 0 and 1"
            )
        if min(self.noise_sigma, self.depth_gain, self.edge_gain) < 0:
            raise UsageError("the strength of noise and its growth cannot be negative")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"a seed lies between 0 and 2^64 - 1, not {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """A particle in several orientations.

    Attributes
    ----------
    densities
        (n, edge, edge, edge) float32.
    masks
        The same shape, bool: what belongs to the particle.
    diameter_vox
        Diameter of the sphere that holds the particle in any orientation.
    """

    densities: FloatArray
    masks: npt.NDArray[np.bool_]
    diameter_vox: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabRows:
    """Rows of a slab phantom; all arrays (z, rows, x).

    Attributes
    ----------
    even, odd
        float32 halves.
    labels
        uint8: 0 outside the ice, 1 ice, 2 particle.
    noise_sd
        float32 true standard deviation of the noise of a half, wedge included.
    """

    even: FloatArray
    odd: FloatArray
    labels: npt.NDArray[np.uint8]
    noise_sd: FloatArray


def ice_slice(spec: SlabSpec) -> slice:
    """Return the sections of the slab."""
    thick = max(1, round(spec.shape[0] * spec.ice))
    first = (spec.shape[0] - thick) // 2
    return slice(first, first + thick)


def place_particles(spec: SlabSpec, templates: Templates) -> npt.NDArray[np.intp]:
    """Choose places for particles that do not overlap: one for a cell, anywhere inside it.

    Returns
    -------
    (n, 4) z, y, x of the particle's centre in voxels, and its template.

    Raises
    ------
    UsageError
        Not a single particle fits into the ice.
    """
    ice = ice_slice(spec)
    room = (ice.stop - ice.start, spec.shape[1], spec.shape[2])
    diameter = int(np.ceil(templates.diameter_vox))
    cell = int(np.ceil(_SPACING * diameter)) + 1
    counts = [n // cell if n >= cell else int(n >= diameter) for n in room]
    if min(counts) == 0:
        raise UsageError(
            f"particles of {diameter} voxels do not fit into ice of {room[2]} x {room[1]} x "
            f"{room[0]} voxels (x, y, z); use a larger --shape, --ice or --voxel-size"
        )
    draw = random_stream(spec.seed, _PLACES, 0, 0, 0)
    cells = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)
    sizes = np.array(room) / counts
    corner = np.floor(cells * sizes)
    slack = np.maximum(np.floor(sizes) - diameter, 0)
    centres = corner + diameter // 2 + np.floor(draw.random(cells.shape) * (slack + 1))
    centres[:, 0] += ice.start
    template = draw.integers(0, len(templates.densities), len(cells))
    taken = draw.random(len(cells)) < spec.filling
    taken[0] |= not taken.any()
    return np.column_stack([centres, template])[taken].astype(np.intp)


def wedge_kept(spec: SlabSpec) -> npt.NDArray[np.bool_]:
    """Say which frequencies of a (z, x) plane any tilt has measured.

    Returns
    -------
    (z, x // 2 + 1) bool, in the order of a real FFT. Nyquist frequencies stand for both signs and
    are kept only when both are measured, so that the planes stay real and the wedge empty.
    """
    nz, _, nx = spec.shape
    low, high = spec.tilt_range_degrees
    kz, kx = np.fft.fftfreq(nz)[:, None], np.fft.rfftfreq(nx)[None, :]

    def measured(z: npt.NDArray[Any], x: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        angle = np.degrees(np.arctan2(z, x))
        folded = np.where(angle > 90, angle - 180, np.where(angle < -90, angle + 180, angle))
        upright = (np.abs(folded) == 90) & ((low == -90) | (high == 90))
        return np.asarray(((folded >= low) & (folded <= high)) | upright | ((z == 0) & (x == 0)))

    kept = measured(kz, kx)
    if nz % 2 == 0:
        kept[nz // 2] &= measured(-kz[nz // 2 : nz // 2 + 1], kx)[0]
    if nx % 2 == 0:
        kept[:, -1] &= measured(-kz, kx[:, -1:])[:, 0]
    return kept


def kept_fraction(spec: SlabSpec) -> float:
    """Return the fraction of the frequencies of a plane that is measured."""
    return float(_power_response(spec).mean())


def noise_field(spec: SlabSpec, rows: slice) -> FloatArray:
    """Return the standard deviation of the noise before the wedge, (z, rows, x)."""
    axes = [
        (2 * (np.arange(s.start, s.stop) + 0.5) / n - 1).astype(np.float32)
        for s, n in zip((slice(0, spec.shape[0]), rows, slice(0, spec.shape[2])), spec.shape,
                        strict=True)
    ]  # fmt: skip
    z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    growth = spec.depth_gain * z * z + spec.edge_gain * (y * y + x * x) / 2
    return np.asarray(spec.noise_sigma * (1 + growth), np.float32)


def measured_noise_sd(spec: SlabSpec, rows: slice) -> FloatArray:
    """Return the true standard deviation of the noise after the wedge, (z, rows, x).

    White noise of variance v(r) seen through a filter w has the variance ``sum v(r') w(r - r')^2``.
    """
    nz, _, nx = spec.shape
    kernel = fft.irfft2(wedge_kept(spec).astype(np.float64), (nz, nx))
    weights = fft.rfft2(np.square(kernel).astype(np.float32))[:, None, :]
    spectrum = fft.rfftn(np.square(noise_field(spec, rows)), axes=(0, 2))
    spectrum *= weights
    variance = fft.irfftn(spectrum, (nz, nx), axes=(0, 2), overwrite_x=True)
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)


def slab_rows(
    spec: SlabSpec, templates: Templates, places: npt.NDArray[np.intp], rows: slice
) -> SlabRows:
    """Compute rows of a slab phantom.

    Parameters
    ----------
    spec, templates
        The phantom.
    places
        From `place_particles`.
    rows
        Range of y; multiples of 32 draw no noise in vain.
    """
    shape = (spec.shape[0], rows.stop - rows.start, spec.shape[2])
    signal, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    labels[ice_slice(spec)] = 1
    _paste(templates, places, rows, signal, labels)
    kept = wedge_kept(spec)[:, None, :]
    field = noise_field(spec, rows)
    region = (slice(0, shape[0]), rows, slice(0, shape[2]))
    halves = []
    for stream in (_EVEN, _ODD):
        half = white_region(region, seed=spec.seed, stream=stream)
        half *= field
        half += signal
        spectrum = fft.rfftn(half, axes=(0, 2), overwrite_x=True)
        spectrum *= kept
        halves.append(
            np.asarray(fft.irfftn(spectrum, (shape[0], shape[2]), axes=(0, 2)), np.float32)
        )
    return SlabRows(
        even=halves[0], odd=halves[1], labels=labels, noise_sd=measured_noise_sd(spec, rows)
    )


def _power_response(spec: SlabSpec) -> DoubleArray:
    """Return 1 where measured, on the whole plane (both signs of x)."""
    nz, _, nx = spec.shape
    kernel = fft.irfft2(wedge_kept(spec).astype(np.float64), (nz, nx))
    return np.asarray(np.square(np.abs(fft.fft2(kernel))), np.float64)


def _paste(
    templates: Templates,
    places: npt.NDArray[np.intp],
    rows: slice,
    signal: FloatArray,
    labels: npt.NDArray[np.uint8],
) -> None:
    """Add the particles that reach into the rows."""
    edge = templates.densities.shape[1]
    corners = places[:, :3] - edge // 2 - np.array([0, rows.start, 0])
    reach = np.all((corners < signal.shape) & (corners + edge > 0), axis=1)
    for corner, template in zip(corners[reach], places[reach, 3], strict=True):
        here, there = [], []
        for c, n in zip(corner, signal.shape, strict=True):
            lo, hi = max(int(c), 0), min(int(c) + edge, n)
            here.append(slice(lo, hi))
            there.append(slice(lo - int(c), hi - int(c)))
        signal[tuple(here)] += templates.densities[template][tuple(there)]
        labels[tuple(here)][templates.masks[template][tuple(there)]] = 2
