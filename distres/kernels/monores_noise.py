"""The noise of one block of one pyramid level: histograms, or cells of a smooth field."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.centred import Float3
from distres.kernels.monogenic import Band, box_shape
from distres.kernels.monores import LevelTests, smoothed_amplitude
from distres.kernels.noise_threshold import (
    BINS,
    Counts,
    amplitude_histogram,
    independent_values,
)
from distres.kernels.riesz import RieszBlock, riesz_block
from distres.kernels.subblocks import Core, cut, grown, share_of
from distres.kernels.threshold_field import fit_threshold_field
from distres.kernels.wedge import Wedge

CELL_VOX = 8
# Samples along a cell: with the two or so of its Nyquist rate a cell's mean would depend on where
# they happen to lie.
CELL_SAMPLES = 4
# A smoothed amplitude has as many independent values as a field whose sharp cutoff, in units of the
# frequency tested, this is: the cube root of the integral of 3 k^2 gain(k)^2 for `Band.smoother`.
INDEPENDENT_CUTOFF = 0.538
# Noise is alike all over a block, so it needs no more around it than the fade-out at cut faces.
NOISE_HALO_VOX = 16
# A field that follows it does: cells up to so far from a tile still shape the field in the tile,
# and are measured with a halo of their own. A tile that ended with its own cells would follow them
# more closely at its faces, and its quantile came out one per cent higher.
CELL_MARGIN_VOX = 16
LOCAL_NOISE_HALO_VOX = CELL_MARGIN_VOX + NOISE_HALO_VOX
# So many independent values tell the threshold to 0.3 %; a finer test finds them in a part of the
# volume. Parts below the least are no cheaper: halos are most of them.
ENOUGH_INDEPENDENT = 8000.0
LEAST_SHARE = 1 / 16


def noise_shares(tests: LevelTests, voxels: float, voxel_angstrom: Float3) -> tuple[float, ...]:
    """Return the share of the noise that each test of a level needs to see, powers of a half.

    Parameters
    ----------
    tests
        The level's tests.
    voxels
        Voxels of the level in which noise is measured.
    voxel_angstrom
        Voxel lengths of the level.
    """
    z, y, x = voxel_angstrom
    shares = []
    for frequency in tests.frequencies:
        smoothed_at = tests.smoothing_frequency(frequency, voxel_angstrom)
        have = independent_values(voxels * z * y * x, INDEPENDENT_CUTOFF * smoothed_at)
        wanted = min(1.0, ENOUGH_INDEPENDENT / max(have, 1.0))
        shares.append(max(2.0 ** ceil(log2(wanted)), LEAST_SHARE))
    return tuple(shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSample:
    """What the smoothed amplitudes of noise are: for every test of a level.

    Attributes
    ----------
    counts
        (tests, BINS) int64 histograms.
    voxels
        (tests,) int64, in how many voxels it was measured.
    """

    counts: Counts
    voxels: npt.NDArray[np.int64]


def noise_counts(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    shares: Sequence[float],
    scale: float,
    wedge: Wedge | None = None,
) -> NoiseSample:
    """Count the amplitudes of noise in the core of a block, for every test of a level.

    The smoothed amplitude is sampled just above its own Nyquist rate, not at every voxel: more
    samples would be copies of these.

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
    shares
        Which share of the region each of them looks at, see `noise_shares`.
    scale
        See `amplitude_histogram`.
    wedge
        Frequencies that were not measured and do not count.
    """
    found = _nothing(tests)
    if not tests.frequencies or not bool(region.any()):
        return found
    for part in _parts(noise, region, core, shares):
        riesz = riesz_block(part.noise, voxel_angstrom, wedge)
        for place in part.places:
            frequency = tests.frequencies[place]
            sample = _sampled(riesz, part.region, part.core, frequency, tests)
            found.counts[place] = amplitude_histogram(sample.amplitude[sample.inside], scale)
            found.voxels[place] = int(part.region.sum())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseCells:
    """The noise of a block by cells.

    Attributes
    ----------
    means
        (tests, z, y, x) float32 mean amplitude of each cell.
    weights
        The same shape: how many samples it rests on, 0 for an empty cell.
    counts
        (tests, BINS) int64 histogram of amplitude over the smooth field of means.
    """

    means: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    counts: Counts


def noise_cells(
    noise: torch.Tensor,
    region: torch.Tensor,
    core: Core,
    own: Core,
    voxel_angstrom: Float3,
    tests: LevelTests,
    wedge: Wedge | None = None,
) -> NoiseCells:
    """Measure how strong the noise is in every cell, and how its amplitude scatters around that.

    Noise that varies in space is taken to be one kind of noise times a smooth field: the field
    comes from means, which need few values, and the quantile from the whole volume.

    Parameters
    ----------
    noise, region, core, voxel_angstrom, tests, wedge
        As in `noise_counts`. Cells of `CELL_VOX` voxels start with the core.
    own
        The part of the core that is answered for; the cells around it only shape the field. It
        starts with a cell.
    """
    count = len(tests.frequencies)
    z, y, x = own
    cells = [slice(s.start // CELL_VOX, -(-s.stop // CELL_VOX)) for s in own]
    means = np.zeros((count, *(c.stop - c.start for c in cells)), dtype=np.float32)
    weights = np.zeros_like(means)
    counts = np.zeros((count, BINS), dtype=np.int64)
    if count and bool(region[z, y, x].any()):
        riesz = riesz_block(noise, voxel_angstrom, wedge)
        for place, frequency in enumerate(tests.frequencies):
            sample = _sampled(riesz, region, core, frequency, tests, least=CELL_SAMPLES)
            found = _cell_means(sample, region.shape)
            means[place], weights[place] = (part[tuple(cells)] for part in found)
            if not weights[place].any():
                continue
            bandwidth = field_bandwidth_cells(frequency * max(voxel_angstrom))
            counts[place] = _scatter(sample.part(own), found, region.shape, bandwidth)
    return NoiseCells(means=means, weights=weights, counts=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of a block, and the tests that look at it."""

    noise: torch.Tensor
    region: torch.Tensor
    core: Core
    places: tuple[int, ...]


def _parts(
    noise: torch.Tensor, region: torch.Tensor, core: Core, shares: Sequence[float]
) -> Iterator[_Part]:
    """Cut a block to what its tests look at, the largest part first."""
    every = (slice(0, noise.shape[0]), slice(0, noise.shape[1]), slice(0, noise.shape[2]))
    for share in sorted(set(shares), reverse=True):
        places = tuple(i for i, own in enumerate(shares) if own == share)
        if share >= 1:
            yield _Part(noise=noise, region=region, core=core, places=places)
            continue
        box = share_of(region, share)
        read = grown(box, core, every, NOISE_HALO_VOX)
        z, y, x = (
            slice(b.start + c.start - r.start, b.stop + c.start - r.start)
            for b, c, r in zip(box, core, read, strict=True)
        )
        yield _Part(
            noise=cut(noise, read),
            region=region[box],
            core=(z, y, x),
            places=places,
        )


def _nothing(tests: LevelTests) -> NoiseSample:
    count = len(tests.frequencies)
    return NoiseSample(
        counts=np.zeros((count, BINS), dtype=np.int64), voxels=np.zeros(count, dtype=np.int64)
    )


# Independent values behind a place of the field: two hundred inside, a fifth of that in corners.
FIELD_INDEPENDENT = 40.0


def field_bandwidth_cells(freq_vox: float) -> float:
    """Return over how many cells the noise field is smoothed: two wavelengths, at least 10 voxels.

    Then about `FIELD_INDEPENDENT` values stand behind each place.
    """
    return max(10.0, 2.0 / freq_vox) / CELL_VOX


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Smoothed amplitudes of a core on a small grid.

    Attributes
    ----------
    amplitude
        (z, y, x) float32.
    inside
        Which of the samples lie in the region.
    nearest
        The voxel of each along every axis, counted from the core's first.
    """

    amplitude: torch.Tensor
    inside: torch.Tensor
    nearest: tuple[npt.NDArray[np.int64], ...]

    def part(self, own: Core) -> "_Sample":
        """Return the samples whose voxels lie in a part of the core."""
        z, y, x = (
            slice(*(int(i) for i in np.searchsorted(voxels, (s.start, s.stop))))
            for voxels, s in zip(self.nearest, own, strict=True)
        )
        return _Sample(
            amplitude=self.amplitude[z, y, x],
            inside=self.inside[z, y, x],
            nearest=tuple(v[s] for v, s in zip(self.nearest, (z, y, x), strict=True)),
        )


def _sampled(
    riesz: RieszBlock,
    region: torch.Tensor,
    core: Core,
    frequency: float,
    tests: LevelTests,
    least: int = 0,
) -> _Sample:
    """Smooth an amplitude and take the samples whose nearest voxel is in the core.

    They lie just closer than the Nyquist rate of the smoothing asks, and at least `least` to a
    cell.
    """
    smoothed_at = tests.smoothing_frequency(frequency, riesz.voxel_angstrom)
    holds = box_shape(riesz.shape, riesz.voxel_angstrom, Band.smoother(smoothed_at).stop)
    z, y, x = (
        max(min(m, places), least * n // CELL_VOX)
        for m, places, n in zip(holds, tests.lattice(riesz.shape), riesz.shape, strict=True)
    )
    amplitude = smoothed_amplitude(riesz, frequency, tests, (z, y, x))
    found, nearest, inside = [], [], region
    for axis, (n, m, part) in enumerate(zip(riesz.shape, (z, y, x), core, strict=True)):
        voxels = (np.arange(m) * n + m // 2) // m
        first, last = np.searchsorted(voxels, (part.start, part.stop))
        found.append(slice(int(first), int(last)))
        nearest.append(voxels[first:last] - part.start)
        inside = inside.index_select(axis, torch.from_numpy(nearest[-1]).to(inside.device))
    # Smoothing rings: where a few values fall below zero, zero is what they stand for.
    return _Sample(
        amplitude=amplitude[tuple(found)].clamp_min(0), inside=inside, nearest=tuple(nearest)
    )


def _cell_means(
    sample: _Sample, shape: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Average samples by the cell of their voxel; also return how many each cell has."""
    weight = sample.inside.to(torch.float32).cpu().numpy()
    total = sample.amplitude.cpu().numpy() * weight
    for axis, (voxels, voxel_count) in enumerate(zip(sample.nearest, shape, strict=True)):
        share = np.zeros((-(-voxel_count // CELL_VOX), len(voxels)), dtype=np.float32)
        share[voxels // CELL_VOX, np.arange(len(voxels))] = 1.0
        weight = np.moveaxis(np.tensordot(share, weight, axes=(1, axis)), 0, axis)
        total = np.moveaxis(np.tensordot(share, total, axes=(1, axis)), 0, axis)
    mean = total / np.where(weight > 0, weight, 1.0)
    return mean.astype(np.float32), weight.astype(np.float32)


def _scatter(
    sample: _Sample,
    cells: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    shape: Sequence[int],
    bandwidth_cells: float,
) -> Counts:
    """Count the amplitudes of samples over the smooth field that the means of cells make."""
    means, weights = (part.astype(np.float64) for part in cells)
    z, y, x = shape
    field = fit_threshold_field(means, weights, (z, y, x), (CELL_VOX,) * 3, bandwidth_cells)
    a, b, c = (v.astype(np.float64) for v in sample.nearest)
    ratio = sample.amplitude / field.at((a, b, c), sample.amplitude.device)
    # Picking every value would take as long as the histogram.
    every = bool(sample.inside.all())
    return amplitude_histogram(ratio if every else ratio[sample.inside], 1.0)
