"""Crops of simulated maps to train DeepRes on: filtered densities, noise, and other nuisances.

Whole maps are filtered, so that no window sees the edge of a transform. A pool of filtered maps is
kept; every batch replaces a few of them and takes one crop from each of many, so that a batch mixes
structures and resolutions although a transform is paid for a few maps only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from scipy import fft

from distres.kernels.deepres import HALO_VOX
from distres.kernels.deepres_labels import Transfer, raised_cosine, visible_resolution

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex64]

# How far from an atom a voxel is, in steps that a byte holds.
INSIDE, RIM, NEAR, FAR = 0, 1, 2, 3
RANGES_ANGSTROM = (2.0, 3.0, 5.0)

_SCALE_SAMPLES = 20000
_RADIAL_BINS = 4096
_NOISE_FIELDS = 24
_NOISE_EDGE_VOX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The density of a part of a structure.

    Attributes
    ----------
    density
        (n, n, n) float16, band-limited to Nyquist, with a margin of empty voxels.
    distance
        (n, n, n) uint8: `INSIDE` within 2 angstrom of an atom, `RIM` within 3, `NEAR` within 5,
        else `FAR`.
    """

    density: npt.NDArray[np.float16]
    distance: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How training maps vary. Chances are shares of all maps or crops.

    Parameters
    ----------
    noise
        Largest SD, where the 99th percentile of the filtered density inside is 1.
    silent
        Chance of no noise.
    coloured
        Chance that noise is coloured: stronger at low frequencies, or cut off below Nyquist.
    decay, decay_b_factor
        Chance of a falling spectrum, and the largest B in square angstrom.
    sharpen, sharpen_b_factor
        Chance of a rising spectrum, and the most negative B.
    dip
        Chance of a changed contrast to the solvent.
    scramble
        Chance of structure with random phases beyond the cutoff.
    offset, offset_size
        Chance of a constant added to the crop, and its largest size.
    masked
        Chance that voxels 5 angstrom from all atoms are zero.
    """

    noise: float = 0.25
    silent: float = 0.1
    coloured: float = 0.3
    decay: float = 0.2
    decay_b_factor: float = 300.0
    sharpen: float = 0.1
    sharpen_b_factor: float = -60.0
    dip: float = 0.25
    scramble: float = 0.06
    offset: float = 0.2
    offset_size: float = 0.1
    masked: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredMap:
    """A map whose 99th percentile inside is 1, and its label.

    Attributes
    ----------
    density
        (n, n, n) float32.
    distance
        As of its piece.
    centres
        (m, 3) voxels whose crop lies in the map.
    label_angstrom
        Resolution.
    """

    density: FloatArray
    distance: npt.NDArray[np.uint8]
    centres: npt.NDArray[np.int64]
    label_angstrom: float


def draw_transfer(
    rng: np.random.Generator,
    augmentation: Augmentation,
    labels_angstrom: tuple[float, float],
    voxel_size_angstrom: float,
) -> tuple[Transfer, float]:
    """Draw a gain whose label lies in a range, and return both.

    Cutoffs are uniform in their logarithm; gains with labels outside are drawn again.
    """
    low, high = labels_angstrom
    while True:
        resolution = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        kind = rng.random()
        b_factor = 0.0
        if kind < augmentation.decay:
            b_factor = float(rng.uniform(0, augmentation.decay_b_factor))
        elif kind < augmentation.decay + augmentation.sharpen:
            # A fixed B would amplify a fine cutoff without bound.
            b_factor = float(rng.uniform(augmentation.sharpen_b_factor, 0))
            b_factor *= min(1.0, (resolution / voxel_size_angstrom / 3) ** 2)
        dipped = rng.random() < augmentation.dip
        transfer = Transfer(
            resolution_angstrom=resolution,
            b_factor=b_factor,
            dip=float(rng.uniform(-0.5, 0.8)) if dipped else 0.0,
            dip_per_angstrom=float(rng.uniform(0.01, 0.03)),
        )
        label = visible_resolution(transfer, voxel_size_angstrom)
        if low <= label <= high:
            return transfer, label


def filtered_map(
    piece: Piece,
    transfer: Transfer,
    label_angstrom: float,
    *,
    voxel_size_angstrom: float,
    crop_vox: int,
    scramble: np.random.Generator | None = None,
) -> FilteredMap:
    """Filter a piece.

    Parameters
    ----------
    piece
        Density without a filter.
    transfer, label_angstrom
        The gain and its label.
    voxel_size_angstrom
        Edge of a voxel.
    crop_vox
        Edge of the crops that will be taken.
    scramble
        With a generator, structure with random phases fills the spectrum beyond the cutoff.
    """
    edge = len(piece.density)
    spectrum = np.asarray(fft.rfftn(piece.density.astype(np.float32)), np.complex64)
    gain = _on_grid(edge, voxel_size_angstrom, lambda k: transfer.gain(k, voxel_size_angstrom))
    if scramble is None:
        spectrum *= gain
    else:
        rest = _scrambled(spectrum, transfer, scramble, voxel_size_angstrom)
        spectrum = spectrum * gain + rest
    density = np.asarray(fft.irfftn(spectrum, piece.density.shape, overwrite_x=True), np.float32)
    margin = crop_vox // 2
    inner = piece.distance[(slice(margin, edge - margin),) * 3]
    centres = np.stack(np.unravel_index(np.flatnonzero(inner <= RIM), inner.shape), axis=1) + margin
    density /= np.float32(density_scale(density, piece.distance))
    return FilteredMap(
        density=density,
        distance=piece.distance,
        centres=centres,
        label_angstrom=label_angstrom,
    )


def density_scale(density: FloatArray, distance: npt.NDArray[np.uint8]) -> float:
    """Return the 99th percentile of the density inside, the unit in which noise is given."""
    inside = density[distance == INSIDE]
    return float(np.percentile(inside[:: max(1, inside.size // _SCALE_SAMPLES)], 99))


def _scrambled(
    spectrum: Spectrum, transfer: Transfer, rng: np.random.Generator, voxel_size_angstrom: float
) -> Spectrum:
    """Return the structure beyond the cutoff with the phases of noise."""
    edge = len(spectrum)
    noise = fft.rfftn(rng.standard_normal((edge,) * 3, np.float32))
    finest = rng.uniform(2 * voxel_size_angstrom, transfer.resolution_angstrom)
    strength = rng.uniform(0.1, 1.0)

    def band(k: DoubleArray) -> DoubleArray:
        wide = raised_cosine(k, finest, voxel_size_angstrom)
        narrow = raised_cosine(k, transfer.resolution_angstrom, voxel_size_angstrom)
        decay = np.exp(-max(transfer.b_factor, 0.0) * k**2 / 4)
        return np.asarray(strength * (wide - narrow) * decay)

    noise /= np.maximum(np.abs(noise), 1e-6)
    noise *= np.abs(spectrum)
    noise *= _on_grid(edge, voxel_size_angstrom, band)
    return np.asarray(noise, np.complex64)


def _on_grid(
    edge: int,
    voxel_size_angstrom: float,
    function: Callable[[DoubleArray], DoubleArray],
) -> FloatArray:
    """Evaluate a function of the frequency on the grid of a real transform, by table."""
    bins, frequency = _radial_bins(edge)
    return np.asarray(function(frequency / voxel_size_angstrom), np.float32)[bins]


@cache
def _radial_bins(edge: int) -> tuple[npt.NDArray[np.int16], DoubleArray]:
    full, half = np.fft.fftfreq(edge), np.fft.rfftfreq(edge)
    radius = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
    step = 3**0.5 / 2 / (_RADIAL_BINS - 1)
    return np.rint(radius / step).astype(np.int16), step * np.arange(_RADIAL_BINS, dtype=np.float64)


def noise_fields(rng: np.random.Generator) -> list[FloatArray]:
    """Draw coloured noise of unit variance, from which crops are taken.

    Half of the fields have power ``1 + excess exp(-(k / width)^2)``, as noise of solvent has; half
    are cut off below Nyquist, as the noise of maps is that were filtered or interpolated.
    """
    fields = []
    for number in range(_NOISE_FIELDS):
        edge = _NOISE_EDGE_VOX
        spectrum = fft.rfftn(rng.standard_normal((edge,) * 3, np.float32))
        if number % 2:
            excess, width = 10 ** rng.uniform(0.5, 2), rng.uniform(0.05, 0.2)
            gain = _on_grid(edge, 1.0, partial(_pink, excess=excess, width=width))
        else:
            cut = float(rng.uniform(2.0, 4.5))
            gain = _on_grid(edge, 1.0, partial(_cut_off, resolution=cut))
        field = fft.irfftn(spectrum * gain, (edge,) * 3)
        fields.append(np.asarray(field / field.std(), np.float32))
    return fields


def _pink(k: DoubleArray, excess: float, width: float) -> DoubleArray:
    return np.asarray(np.sqrt(1 + excess * np.exp(-((k / width) ** 2))))


def _cut_off(k: DoubleArray, resolution: float) -> DoubleArray:
    return raised_cosine(k, resolution, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crops:
    """What the network is trained on.

    Attributes
    ----------
    density
        (n, 1, c, c, c) float32.
    label_angstrom
        (n,) float32.
    weight
        (n, c - 12, c - 12, c - 12) float32: 1 where the voxel counts.
    """

    density: FloatArray
    label_angstrom: FloatArray
    weight: FloatArray


def draw_crops(
    maps: list[FilteredMap],
    fields: list[FloatArray],
    augmentation: Augmentation,
    crop_vox: int,
    rng: np.random.Generator,
) -> Crops:
    """Take one crop from each map, turn it, and add noise."""
    density = np.empty((len(maps), 1, crop_vox, crop_vox, crop_vox), np.float32)
    answers = crop_vox - 2 * HALO_VOX
    weight = np.empty((len(maps), answers, answers, answers), np.float32)
    for number, one in enumerate(maps):
        start = one.centres[rng.integers(len(one.centres))] - crop_vox // 2
        place = tuple(slice(s, s + crop_vox) for s in start)
        turn, distance = _turn(rng), one.distance[place]
        crop = turn(one.density[place]) + _noise(fields, augmentation, crop_vox, rng)
        distance = turn(distance)
        if rng.random() < augmentation.offset:
            crop += np.float32(rng.uniform(-1, 1) * augmentation.offset_size)
        if rng.random() < augmentation.masked:
            crop[distance > NEAR] = 0
        density[number, 0] = crop
        inner = slice(HALO_VOX, crop_vox - HALO_VOX)
        weight[number] = distance[inner, inner, inner] <= RIM
    labels = np.array([one.label_angstrom for one in maps], np.float32)
    return Crops(density=density, label_angstrom=labels, weight=weight)


def _noise(
    fields: list[FloatArray], augmentation: Augmentation, crop_vox: int, rng: np.random.Generator
) -> FloatArray:
    shape = (crop_vox,) * 3
    if rng.random() < augmentation.silent:
        return np.zeros(shape, np.float32)
    sigma = np.float32(rng.uniform(0, augmentation.noise))
    if rng.random() >= augmentation.coloured:
        return sigma * rng.standard_normal(shape, np.float32)
    field = fields[rng.integers(len(fields))]
    start = rng.integers(0, len(field) - crop_vox + 1, 3)
    crop = field[tuple(slice(s, s + crop_vox) for s in start)]
    return sigma * np.float32(rng.choice((-1, 1))) * crop


def _turn(rng: np.random.Generator) -> Callable[..., npt.NDArray]:  # type: ignore[type-arg]
    """Return one of the 48 symmetries of a cube, reflections included."""
    order = tuple(rng.permutation(3))
    flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
    return lambda block: np.flip(block.transpose(order), flips)
