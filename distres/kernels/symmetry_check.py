"""How far a map obeys a point group: its correlation with turned copies of itself, by shells.

Both copies lose their mean over spheres first: any turn leaves that as it is, and a capsid is
mostly sphere. What two halves share sets the scale. A map that is symmetric, but whose noise is
not, correlates with its turned self as the mean of the halves does with the truth it holds, which
for a correlation c between the halves is 2 c / (1 + c).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from distres.kernels.shells import Shells, fsc_of_sums, shell_sums

Float32 = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
Float3 = tuple[float, float, float]

# Cubic splines keep the phases of what is coarser than this.
HIGHEST_FREQ_VOX = 0.3
# Shells in which the halves share less say little, and those below see the whole box.
LEAST_SHARED = 0.5
FIRST_SHELL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far a map is what its turned copies are.

    Attributes
    ----------
    per_turn
        For each turn 1 where the copy agrees as far as the halves allow, 0 where it does not.
    finest_angstrom
        Down to which resolution copies were compared.
    """

    per_turn: tuple[float, ...]
    finest_angstrom: float

    @property
    def worst(self) -> float:
        """Agreement of the turn that agrees least; 1 for no turns."""
        return min(self.per_turn, default=1.0)


def agreement(
    half1: Float32,
    half2: Float32 | None,
    mask: npt.NDArray[np.bool_],
    turns: Sequence[Float],
    *,
    voxel_size_angstrom: Float3,
    centre_vox: Float3,
) -> Agreement | None:
    """Compare the mean of two halves, or a map, with its copies turned about a centre.

    Parameters
    ----------
    half1, half2
        (z, y, x) float32; half 2 is None for a single map, whose noise then counts against it.
    mask
        (z, y, x) voxels that are compared.
    turns
        Rotations (3, 3) of vectors (z, y, x) in angstrom.
    voxel_size_angstrom, centre_vox
        (z, y, x).

    Returns
    -------
    None where there is nothing to compare: no voxels, or no shell that the halves share.
    """
    mean = half1 if half2 is None else np.float32(0.5) * (half1 + half2)
    balls = _Balls.of(mask, voxel_size_angstrom, centre_vox)
    if not balls.where[0].size:
        return None
    shells = Shells(shape=balls.shape, voxel_size_angstrom=voxel_size_angstrom)
    highest = HIGHEST_FREQ_VOX / max(voxel_size_angstrom)
    used = shells.frequency_per_angstrom <= highest
    used[:FIRST_SHELL] = False
    shared = np.ones(shells.count)
    weights = shells.coefficients()[: shells.count].astype(np.float64)
    own = balls.transform(mean)
    if half2 is not None:
        sums = shell_sums(balls.transform(half1), balls.transform(half2), shells)
        shared = fsc_of_sums(sums)
        used &= shared > LEAST_SHARED
        shared = np.where(used, 2 * shared / (1 + np.abs(shared)), 1)
    else:
        # The strong shells decide: there the noise is least.
        weights = shell_sums(own, own, shells)[0, : shells.count]
    if not used.any():
        return None
    weights = np.where(used, weights, 0)
    smooth = ndimage.spline_filter(mean, order=3, output=np.float32, mode="mirror")
    found = []
    for turn in turns:
        other = balls.turned(smooth, turn, voxel_size_angstrom, centre_vox)
        curve = fsc_of_sums(shell_sums(own, other, shells))
        found.append(float((weights * curve * shared).sum() / (weights * shared**2).sum()))
    finest = 1 / shells.frequency_per_angstrom[used].max()
    return Agreement(
        per_turn=tuple(round(float(np.clip(v, 0, 1)), 4) for v in found),
        finest_angstrom=float(finest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Balls:
    """The voxels compared, in a box around them, and the radius of each in voxels."""

    shape: tuple[int, int, int]
    first: tuple[int, int, int]
    where: tuple[npt.NDArray[np.intp], ...]
    radius: Float

    @classmethod
    def of(cls, mask: npt.NDArray[np.bool_], spacing: Float3, centre: Float3) -> "_Balls":
        where = np.nonzero(mask)
        squared = np.zeros(len(where[0]))
        for index, d, c in zip(where, spacing, centre, strict=True):
            squared += ((index - c) * d) ** 2
        reach = min(
            min(c, n - 1 - c) * d for n, d, c in zip(mask.shape, spacing, centre, strict=True)
        )
        # Turned copies of what lies beyond would come from outside the volume.
        kept = squared <= reach**2
        chosen = [index[kept] for index in where]
        lows = [int(index.min(initial=n)) for index, n in zip(chosen, mask.shape, strict=True)]
        z, y, x = (
            fft.next_fast_len(int(index.max(initial=low)) + 1 - low, real=True)
            for index, low in zip(chosen, lows, strict=True)
        )
        return cls(
            shape=(z, y, x),
            first=(lows[0], lows[1], lows[2]),
            where=tuple(chosen),
            radius=np.sqrt(squared[kept]) / max(spacing),
        )

    def transform(self, volume: Float32) -> npt.NDArray[np.complex64]:
        """Return the transform of the voxels compared, without their mean over spheres."""
        return self._transform(volume[self.where])

    def turned(
        self, smooth: Float32, turn: Float, spacing: Float3, centre: Float3
    ) -> npt.NDArray[np.complex64]:
        """Return the same of the copy that a turn makes; `smooth` holds spline coefficients."""
        step = np.array(spacing)[:, None]
        place = np.stack(self.where) - np.array(centre)[:, None]
        back = turn.T @ (place * step) / step + np.array(centre)[:, None]
        values = ndimage.map_coordinates(smooth, back, order=3, mode="mirror", prefilter=False)
        return self._transform(values)

    def _transform(self, values: Float32) -> npt.NDArray[np.complex64]:
        sphere = np.rint(self.radius).astype(np.intp)
        count = np.bincount(sphere)
        some = count > 0
        # Means at mean radii: between them the density of a sphere may be steep.
        at, means = (np.bincount(sphere, v)[some] / count[some] for v in (self.radius, values))
        block = np.zeros(self.shape, np.float32)
        inner = tuple(index - low for index, low in zip(self.where, self.first, strict=True))
        block[inner] = values - np.interp(self.radius, at, means)
        spectrum: npt.NDArray[np.complex64] = fft.rfftn(block)
        return spectrum
