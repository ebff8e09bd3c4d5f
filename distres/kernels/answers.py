"""Average the answers of a network over neighbourhoods as wide as they are coarse.

A map of resolution R holds nothing that changes over less than R, its resolution included, but
windows a few voxels apart give answers that scatter. So each is averaged with its neighbours, in
logarithms, under a window whose full width at half maximum is a multiple of the resolution.

Two answers are averaged under the narrower of both their windows: fine density next to coarse one
says nothing of the latter from afar, and the other way round. With windows ``W_k`` of rising widths
and ``a_k(x)``, which grows from 0 to 1 where the answer at x passes level k,

    W(x, y) = sum over k of a_k(x) (W_k - W_(k-1))(x - y) a_k(y),

which is a few filters of the whole block and changes continuously with the answers.
"""

from dataclasses import dataclass
from math import ceil, log, log2

import numpy as np
import torch

from distres.kernels.interpolate import apply_matrices

_LEVELS_AN_OCTAVE = 4
# SD of a raised cosine, in full widths at half maximum: sqrt(1/3 - 2/pi^2).
_SD_OF_WINDOW = 0.3615
# Errors of windows of 13^3 voxels a distance d apart correlate as exp(-d^2 / (2 l^2)), but for a
# share of the variance that all neighbours have in common. Both as seen with model A in maps of
# its validation: averages over 1.5 resolutions had 0.70, 0.60, 0.60 and 0.54 of the error of single
# answers at 3, 5, 7 and 9 A, where these numbers say 0.85, 0.70, 0.57 and 0.49.
ALIKE_VOX = 4.0
SHARED_VARIANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """How far answers are averaged.

    Parameters
    ----------
    width_resolutions
        Full width at half maximum of the window, in resolutions; it ends at as much on either side.
    node_vox
        Voxels of the network's grid from answer to answer.
    range_vox
        Finest and coarsest answer, in voxels of the network's grid.
    """

    width_resolutions: float
    node_vox: float
    range_vox: tuple[float, float]

    @property
    def levels_vox(self) -> list[float]:
        """Resolutions that have a window of their own, from the finest to beyond the coarsest."""
        fine, coarse = self.range_vox
        count = ceil(_LEVELS_AN_OCTAVE * log2(coarse / fine) - 1e-9)
        return [fine * 2 ** (k / _LEVELS_AN_OCTAVE) for k in range(count + 1)]

    @property
    def reach_nodes(self) -> int:
        """Nodes to either side that an average is made of."""
        return max(ceil(self._width(self.levels_vox[-1])) - 1, 0)

    def _width(self, level_vox: float) -> float:
        return self.width_resolutions * level_vox / self.node_vox

    def window(self, level_vox: float, inner: slice, count: int) -> torch.Tensor:
        """Return the window of a level, 1 at its middle: (inner, count) float32."""
        distance = np.arange(inner.start, inner.stop)[:, None] - np.arange(count)
        place = np.minimum(np.abs(distance) / self._width(level_vox), 1)
        return torch.from_numpy(np.cos(np.pi / 2 * place).astype(np.float32) ** 2)

    def volume(self, level_vox: float) -> float:
        """Return how many nodes count under a whole window."""
        reach = ceil(self._width(level_vox))
        middle = slice(reach, reach + 1)
        return float(self.window(level_vox, middle, 2 * reach + 1).sum()) ** 3


def average_answers(
    answers: torch.Tensor, inner: tuple[slice, ...], neighbourhood: Neighbourhood, voxel: float
) -> torch.Tensor:
    """Average answers with their neighbours.

    Parameters
    ----------
    answers
        (2, z, y, x) float32: resolutions in angstrom and their standard uncertainties, NaN where
        there are none.
    inner
        The nodes wanted, with `Neighbourhood.reach_nodes` around them as far as there are any.
    neighbourhood
        How far.
    voxel
        Angstroms to one voxel of the network's grid.

    Returns
    -------
    (2, *inner) float32
        NaN where the answer itself is.
    """
    known = torch.isfinite(answers[0])
    logarithm = torch.where(known, answers[0], voxel).div(voxel).log()
    relative = torch.where(known, answers[1] / answers[0], 1.0).log()
    # Neighbours count by their precision. By its square, the inverse variance, averages lean to
    # the fine side, where uncertainties are smaller.
    weight = torch.where(known, torch.exp(-relative), 0.0)
    fields = torch.stack([weight, weight * logarithm, weight * relative])
    level = (logarithm - log(neighbourhood.range_vox[0])) * (_LEVELS_AN_OCTAVE / log(2))
    sums, most = _level_by_level(fields, level, inner, neighbourhood)
    resolution, spread = torch.exp(sums[1] / sums[0]), torch.exp(sums[2] / sums[0])
    filled = (sums[0] / (weight[inner] * most)).clamp(max=1)
    sd = resolution * (_SD_OF_WINDOW * neighbourhood.width_resolutions)
    spread *= remaining_error(sd, filled)
    found = torch.stack([resolution * voxel, resolution * voxel * spread])
    found[:, ~known[inner]] = torch.nan
    return found


def remaining_error(sd_vox: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
    """Return the error of averages in errors of the answers that they are made of.

    Parameters
    ----------
    sd_vox
        SD of the window along each axis, in voxels of the network's grid.
    filled
        How much of the window has answers that count, 0 to 1.
    """
    averaged = (1 + 2 * (sd_vox / ALIKE_VOX) ** 2) ** 1.5
    own = (1 - SHARED_VARIANCE) / (1 + filled * (averaged - 1))
    return torch.sqrt(SHARED_VARIANCE + own)


def _level_by_level(
    fields: torch.Tensor,
    level: torch.Tensor,
    inner: tuple[slice, ...],
    neighbourhood: Neighbourhood,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum fields under the windows; also say to how many nodes each window comes."""
    sums = torch.zeros(len(fields), *level[inner].shape, device=fields.device)
    most = torch.zeros_like(sums[0])
    matrices: list[torch.Tensor] = []
    volume = 0.0
    for number, level_vox in enumerate(neighbourhood.levels_vox):
        above = (level - (number - 1)).clamp(0, 1)
        if not bool((above[inner] > 0).any()):
            break
        passed, narrower, smaller = fields * above, matrices, volume
        matrices = [
            neighbourhood.window(level_vox, along, n).to(fields.device)
            for along, n in zip(inner, level.shape, strict=True)
        ]
        volume = neighbourhood.volume(level_vox)
        more = _filtered(passed, matrices)
        if narrower:
            more -= _filtered(passed, narrower)
        sums += above[inner] * more
        most += above[inner] * (volume - smaller)
    return sums, most


def _filtered(fields: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([apply_matrices(field, matrices) for field in fields])
