"""Power spectra and territories of parts of a structure: what their true resolution follows from.

A part (a chain) with transform F and volume V voxels has, inside its own outline, the power per
voxel ``S(k) = <|F|^2> / V``; white noise of standard deviation sigma has ``sigma^2`` there. The FSC
that two halves have inside the part is then ``S / (S + N)``.

V is the volume that packed atoms fill: within 3 A of an atom, less a rim of 1 A (about 19 cubic
angstrom for each atom of a protein but hydrogen). Deep inside four proteins the power beyond 5 A
resolution came out within 7 % of S with this V; the whole volume within 3 A gives 25 % too little.
Between 7 and 10 A, where the outline against the empty outside carries much of the power, S is up
to 50 % above that of the inside.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from distres.kernels.density import Scatterers, Shape3, density_map

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

TERRITORY_ANGSTROM = 3.0
_PADDING_ANGSTROM = 12.0
_RIM_ANGSTROM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurve:
    """Power per voxel of a part, over frequency.

    Attributes
    ----------
    frequency_per_angstrom
        (shells,) mean frequency of each shell, increasing.
    power
        (shells,) power per voxel of the part.
    volume_vox
        Volume V in voxels of the map.
    variance
        Variance of the density over the territory.
    """

    frequency_per_angstrom: DoubleArray
    power: DoubleArray
    volume_vox: float
    variance: float

    def at(self, frequency_per_angstrom: DoubleArray) -> DoubleArray:
        """Return the power at any frequency: log-linear between shells, constant beyond them."""
        logs = np.log(np.maximum(self.power, 1e-300))
        return np.exp(np.interp(frequency_per_angstrom, self.frequency_per_angstrom, logs))


def power_curve(atoms: Scatterers, voxel_size_angstrom: float) -> PowerCurve:
    """Measure the power of a group of atoms in a box of its own.

    Parameters
    ----------
    atoms
        The part, anywhere in space.
    voxel_size_angstrom
        Edge of a voxel of the map that it will be part of.
    """
    low = atoms.positions_angstrom.min(axis=0) - _PADDING_ANGSTROM
    extent = atoms.positions_angstrom.max(axis=0) + _PADDING_ANGSTROM - low
    sizes = (fft.next_fast_len(int(np.ceil(e / voxel_size_angstrom)), real=True) for e in extent)
    z, y, x = (n + n % 2 for n in sizes)
    boxed = atoms.moved(np.eye(3), -low)
    density = density_map(boxed, (z, y, x), voxel_size_angstrom)
    territory = territories(
        boxed.positions_angstrom, np.ones(len(atoms), np.intp), density.shape, voxel_size_angstrom
    )
    inside = territory > 0
    volume = packed_volume(boxed.positions_angstrom) / voxel_size_angstrom**3
    frequency, power = shell_power(density, voxel_size_angstrom)
    return PowerCurve(
        frequency_per_angstrom=frequency,
        power=power / volume,
        volume_vox=volume,
        variance=float(density[inside].var()),
    )


def packed_volume(positions_angstrom: DoubleArray) -> float:
    """Return the volume in cubic angstrom that atoms fill, voids between them included."""
    low = positions_angstrom.min(axis=0) - TERRITORY_ANGSTROM - 2
    extent = positions_angstrom.max(axis=0) + TERRITORY_ANGSTROM + 2 - low
    ones = np.ones(len(positions_angstrom), np.intp)
    near = territories(positions_angstrom - low, ones, tuple(np.ceil(extent).astype(int)), 1.0)
    depth = ndimage.distance_transform_edt(near)
    return float(np.count_nonzero(np.asarray(depth) > _RIM_ANGSTROM))


def shell_power(density: FloatArray, voxel_size_angstrom: float) -> tuple[DoubleArray, DoubleArray]:
    """Return the mean of ``|F|^2`` on shells one pixel of the longest axis wide, up to Nyquist.

    Returns
    -------
    frequency, power
        (shells,) each; the shell of frequency 0 is left out.
    """
    z, y, x = density.shape
    spectrum = fft.rfftn(density)
    axes = np.fft.fftfreq(z), np.fft.fftfreq(y), np.fft.rfftfreq(x)
    longest = max(z, y, x)
    count = longest // 2 + 1
    sums = np.zeros((3, count))
    plane = np.square(axes[1])[:, None] + np.square(axes[2])
    for i, kz in enumerate(axes[0]):
        k = np.sqrt(plane + kz**2).ravel()
        shell = np.rint(k * longest).astype(np.intp)
        inside = shell < count
        power = np.square(np.abs(spectrum[i].ravel()[inside])).astype(np.float64)
        for row, weights in enumerate((None, k[inside], power)):
            sums[row] += np.bincount(shell[inside], weights, minlength=count)
    number, frequency, total = sums[:, 1:]
    # Coefficients on the faces of Nyquist are cut off by the band limit of the density.
    kept = number > 0
    kept[-1] = False
    return frequency[kept] / number[kept] / voxel_size_angstrom, total[kept] / number[kept]


def territories(
    positions_angstrom: DoubleArray,
    labels: npt.NDArray[np.intp],
    shape: Shape3 | tuple[int, ...],
    voxel_size_angstrom: float,
    radius_angstrom: float = TERRITORY_ANGSTROM,
) -> npt.NDArray[np.uint16]:
    """Give every voxel near an atom the label of the nearest one.

    Parameters
    ----------
    positions_angstrom
        (n, 3) z, y, x from the centre of voxel (0, 0, 0).
    labels
        (n,) 1 to 65535.
    shape
        Voxels (z, y, x); what lies outside is left out.
    voxel_size_angstrom
        Edge of a voxel.
    radius_angstrom
        Reach of an atom.

    Returns
    -------
    (z, y, x) uint16
        0 where no atom is near. Distances are those between voxels' centres, the atom moved to
        the nearest.
    """
    reach = radius_angstrom / voxel_size_angstrom
    steps = np.arange(-int(reach), int(reach) + 1)
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(offsets, axis=1)
    offsets = offsets[distance <= reach]
    # Far offsets first: what is written last, and stays, comes from the nearest atom.
    offsets = offsets[np.argsort(-np.linalg.norm(offsets, axis=1), kind="stable")]
    nearest = np.rint(positions_angstrom / voxel_size_angstrom).astype(np.intp)
    nearest, which = np.unique(nearest, axis=0, return_index=True)
    values = labels[which].astype(np.uint16)
    out = np.zeros(shape, np.uint16)
    limit = np.array(shape)
    for offset in offsets:
        place = nearest + offset
        inside = np.all((place >= 0) & (place < limit), axis=1)
        out[tuple(place[inside].T)] = values[inside]
    return out
