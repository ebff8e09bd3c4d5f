"""A bank of low-pass filters, mixed voxel by voxel so that each is filtered to its own resolution.

With frequencies s_1 < s_2 < ... and m_k the map low-passed at s_k, a voxel of resolution R gets the
linear mix of the two m_k next to 1 / R: one inverse transform per bank frequency instead of one per
voxel. A filter's reach grows with R, so coarse filters run on coarse levels of the pyramid,
where their reach in voxels is always the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.fourier import irfftn, radial_frequency, rfftn
from distres.kernels.interpolate import apply_matrices, sinc_matrix

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

# Half-width of the interpolating sinc in voxels of the coarse level, and its Kaiser shape: bands up
# to a quarter cycle per voxel come out to 1e-4.
UPSAMPLE_REACH = 8
_UPSAMPLE_BETA = 8.0

# A level holds filters whose band ends at this many cycles per voxel.
_BAND_TOP = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LowPassBank:
    """Cutoff frequencies and the shape of their edge.

    Parameters
    ----------
    cutoffs_per_angstrom
        Rising; the filter is 1/2 there.
    edge
        Width of the raised cosine from 1 to 0, in units of the cutoff.
    """

    cutoffs_per_angstrom: tuple[float, ...]
    edge: float = 0.3

    @classmethod
    def covering(
        cls, finest_angstrom: float, coarsest_angstrom: float, *, edge: float = 0.3
    ) -> "LowPassBank":
        """Cutoffs from 1 / coarsest to 1 / finest, a quarter of an edge apart.

        At that spacing the mix of two neighbours differs from the filter between them by at most
        ``(pi / 4)^2 / 16 = 0.04``, in the edge alone. One resolution gives one cutoff, exactly.
        """
        low, high = 1 / coarsest_angstrom, 1 / finest_angstrom
        count = ceil(np.log(high / low) / np.log1p(edge / 4) - 1e-9) + 1 if high > low else 1
        cutoffs = np.geomspace(low, high, count) if count > 1 else np.array([high])
        return cls(cutoffs_per_angstrom=tuple(float(c) for c in cutoffs), edge=edge)

    def halo(self, level_voxel_angstrom: float, cutoff: float) -> int:
        """Voxels beyond which a filter takes less than 0.5 % of the rms of a white volume."""
        return ceil(1.5 / (self.edge * cutoff * level_voxel_angstrom))

    def level(self, cutoff: float, voxel_angstrom: float, levels: int) -> int:
        """Coarsest level whose band still holds the filter."""
        top = cutoff * (1 + self.edge / 2) * voxel_angstrom
        level = 0
        while level + 1 < levels and top * 2 ** (level + 1) <= _BAND_TOP:
            level += 1
        return level

    def response(self, frequency: torch.Tensor, cutoff: float) -> torch.Tensor:
        """Return the filter at every coefficient."""
        width = self.edge * cutoff
        place = ((frequency - cutoff) / width + 0.5).clamp_(0, 1)
        return torch.cos(place * torch.pi).add_(1).mul_(0.5)


def low_passed(
    block: torch.Tensor,
    bank: LowPassBank,
    cutoffs: Sequence[float],
    *,
    voxel_size_angstrom: Sequence[float],
    b_factor_angstrom2: float = 0.0,
) -> Iterator[torch.Tensor]:
    """Filter a block at several cutoffs.

    Parameters
    ----------
    block
        (z, y, x) float32, halo included.
    bank
        Shape of the edges.
    cutoffs
        Per angstrom.
    voxel_size_angstrom
        Voxel edges (z, y, x) of the block.
    b_factor_angstrom2
        The spectrum is first multiplied by ``exp(-B s^2 / 4)``; a negative B sharpens.

    Yields
    ------
    (z, y, x) float32, one for each cutoff.
    """
    spectrum = rfftn(block)
    frequency = radial_frequency(block.shape, voxel_size_angstrom, device=block.device)
    if b_factor_angstrom2:
        spectrum = spectrum * torch.exp(-b_factor_angstrom2 / 4 * frequency**2)
    for cutoff in cutoffs:
        yield irfftn(spectrum * bank.response(frequency, cutoff), tuple(block.shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Which two filters each voxel takes, sorted by the lower one.

    Attributes
    ----------
    order
        Flat voxel indices, sorted.
    starts
        (K + 1,): voxels ``order[starts[k]:starts[k + 1]]`` lie between cutoffs k and k + 1.
    share
        (voxels,) share of the upper filter, in the same order.
    """

    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    share: Float32

    @classmethod
    def of(cls, resolution_angstrom: Float32, bank: LowPassBank) -> "Mixture":
        """Sort the voxels of a resolution map; those without one (NaN) take the coarsest filter."""
        cutoffs = np.asarray(bank.cutoffs_per_angstrom)
        with np.errstate(divide="ignore"):
            value = 1 / np.asarray(resolution_angstrom, np.float64).ravel()
        value = np.clip(np.nan_to_num(value, nan=0.0), cutoffs[0], cutoffs[-1])
        lower = np.searchsorted(cutoffs, value, side="right") - 1
        order = np.argsort(lower, kind="stable")
        upper = np.minimum(lower + 1, len(cutoffs) - 1)
        gap = cutoffs[upper] - cutoffs[lower]
        share = np.where(gap > 0, (value - cutoffs[lower]) / np.where(gap > 0, gap, 1), 0)
        starts = np.searchsorted(lower[order], np.arange(len(cutoffs) + 1))
        return cls(order=order, starts=starts, share=share[order].astype(np.float32))

    def needs(self, place: int) -> bool:
        """Tell whether any voxel takes a part of filter `place`."""
        return any(self._part(place - below).size > 0 for below in (0, 1))

    def add(self, mixed: Float32, filtered: Float32, place: int) -> None:
        """Add filter `place`, given at every voxel, by its share; in place on flat `mixed`."""
        flat = filtered.reshape(-1)
        for below in (0, 1):
            part = self._part(place - below)
            share = self.share[self.starts[place - below] : self.starts[place - below] + len(part)]
            mixed[part] += flat[part] * (share if below else 1 - share)

    def _part(self, lower: int) -> npt.NDArray[np.int64]:
        if lower < 0:
            return self.order[:0]
        return self.order[self.starts[lower] : self.starts[lower + 1]]


def upsample(block: torch.Tensor, factor: int, counts: Sequence[int]) -> torch.Tensor:
    """Interpolate a band-limited block between its voxels.

    Parameters
    ----------
    block
        (z, y, x) float32 on the coarse level, `UPSAMPLE_REACH` voxels more at the low side than
        the wanted part, and at least as many at the high side.
    factor
        Fine voxels to a coarse one; fine voxel 0 lies on coarse voxel `UPSAMPLE_REACH`.
    counts
        Fine voxels wanted (z, y, x).
    """
    matrices = []
    for n, fine in zip(block.shape, counts, strict=True):
        position = np.arange(fine)[:, None] / factor + UPSAMPLE_REACH
        matrix = sinc_matrix(position - np.arange(n), UPSAMPLE_REACH, _UPSAMPLE_BETA)
        matrices.append(torch.from_numpy(matrix).to(block.device))
    return apply_matrices(block, matrices)
