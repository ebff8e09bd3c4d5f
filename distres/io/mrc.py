"""MRC and CCP4 headers: every oddity on reading, and what a file says about its voxels.

The layout follows the MRC2014 description (Cheng et al. 2015, doi:10.1016/j.jsb.2015.04.002).
Reading a header never touches the voxels, so it costs the same for a terabyte.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np

from distres.errors import InputError
from distres.io.grid import Float3, Grid, Shape3

Int3 = tuple[int, int, int]
ByteOrder = Literal["<", ">"]

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
REFUSED_MODES = {
    3: "complex integers (a Fourier transform)",
    4: "complex numbers (a Fourier transform)",
    16: "RGB colours",
    17: "RGB colours",
    101: "4-bit integers",
}
MODE_BITS = {3: 32, 4: 64, 16: 24, 17: 48, 101: 4}
# Outside these, a cell divided by its sampling is a damaged header, not a voxel.
VOXEL_RANGE_ANGSTROM = (1e-3, 1e5)

_FIELDS: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = [
    ("extents", "i4", (3,)),
    ("mode", "i4"),
    ("nstart", "i4", (3,)),
    ("sampling", "i4", (3,)),
    ("cell", "f4", (3,)),
    ("angles", "f4", (3,)),
    ("axes", "i4", (3,)),
    ("dmin", "f4"),
    ("dmax", "f4"),
    ("dmean", "f4"),
    ("ispg", "i4"),
    ("nsymbt", "i4"),
    ("extra1", "V8"),
    ("exttyp", "S4"),
    ("nversion", "i4"),
    ("extra2", "V40"),
    ("imod_stamp", "i4"),
    ("imod_flags", "i4"),
    ("extra3", "V36"),
    ("origin", "f4", (3,)),
    ("map", "S4"),
    ("stamp", "u1", (4,)),
    ("rms", "f4"),
    ("nlabl", "i4"),
    ("labels", "S80", (10,)),
]
HEADER_DTYPE = np.dtype(_FIELDS).newbyteorder("<")


@dataclass(frozen=True, slots=True, kw_only=True)
class MrcHeader:
    """What a header says. Triples are in file terms (x, y, z) unless said otherwise.

    The first group is what a derived map copies from its source. The rest says how the voxels of
    this file lie on disk.

    Attributes
    ----------
    nstart
        First column, row and section, already permuted to x, y, z.
    origin
        ORIGIN field in angstrom (x, y, z).
    cell_angstrom
        Cell edges; with `sampling` it gives the voxel size.
    sampling
        mx, my, mz.
    angles_degrees
        Cell angles alpha, beta, gamma.
    space_group
        1 for a volume, 0 for images, 401 and more for stacks of volumes.
    labels
        Text lines of the file.
    statistics
        dmin, dmax, dmean, rms as stored: often stale.
    mode
        Stored type (0 int8, 1 int16, 2 float32, 6 uint16, 12 float16).
    unsigned
        Mode 0 holds 0 to 255 rather than -128 to 127.
    byte_order
        ``<`` or ``>``.
    extents
        Columns, rows, sections as stored.
    axes
        Which axis (1 x, 2 y, 3 z) columns, rows and sections run along.
    extended_bytes, extended_type
        Extended header between this header and the voxels.
    notices
        What was odd, in sentences for the user.
    """

    nstart: Int3 = (0, 0, 0)
    origin: Float3 = (0.0, 0.0, 0.0)
    cell_angstrom: Float3 = (0.0, 0.0, 0.0)
    sampling: Int3 = (0, 0, 0)
    angles_degrees: Float3 = (90.0, 90.0, 90.0)
    space_group: int = 1
    labels: tuple[str, ...] = ()
    statistics: tuple[float, float, float, float] = (0.0, -1.0, -2.0, -1.0)
    mode: int = 2
    unsigned: bool = False
    byte_order: ByteOrder = "<"
    extents: Int3 = (0, 0, 0)
    axes: Int3 = (1, 2, 3)
    extended_bytes: int = 0
    extended_type: str = ""
    notices: tuple[str, ...] = ()

    @property
    def extents_xyz(self) -> Int3:
        """Voxels along x, y, z."""
        return permute(self.extents, self.axes)

    @property
    def shape(self) -> Shape3:
        """Voxels (z, y, x)."""
        x, y, z = self.extents_xyz
        return z, y, x

    @property
    def data_offset(self) -> int:
        """Bytes before the first voxel."""
        return HEADER_BYTES + self.extended_bytes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored type, for the modes that can be read."""
        code = "u1" if self.mode == 0 and self.unsigned else MODES[self.mode]
        return np.dtype(code).newbyteorder(self.byte_order)

    @property
    def data_bytes(self) -> int:
        """Bytes of the voxels."""
        count = prod(self.extents)
        if self.mode in MODES:
            return count * self.dtype.itemsize
        return -(-count * MODE_BITS[self.mode] // 8)

    @property
    def voxel_size_angstrom(self) -> Float3 | None:
        """Voxel size (x, y, z) in angstrom: cell divided by sampling; None when unset."""
        sampling = self._sampling()
        sizes = tuple(c / m for c, m in zip(self.cell_angstrom, sampling, strict=True))
        low, high = VOXEL_RANGE_ANGSTROM
        if not all(low <= size <= high for size in sizes):
            return None
        return sizes[0], sizes[1], sizes[2]

    def _sampling(self) -> Int3:
        x, y, z = (m if m > 0 else n for m, n in zip(self.sampling, self.extents_xyz, strict=True))
        return x, y, z

    def grid(self, pixel_size_angstrom: float | None = None) -> Grid:
        """Say where the voxels lie; `pixel_size_angstrom` replaces what the header says.

        The position is ORIGIN when any component is set, else NSTART times the voxel size, the
        way ChimeraX reads it.

        Raises
        ------
        InputError
            When neither the header nor the caller gives a voxel size.
        """
        size = self.voxel_size_angstrom
        if pixel_size_angstrom is not None:
            size = (pixel_size_angstrom,) * 3
        if size is None:
            cell = ", ".join(f"{edge:g}" for edge in self.cell_angstrom)
            raise InputError(
                f"the header has no usable voxel size (cell {cell}); give --pixel-size in angstrom"
            )
        start = self.origin
        if not any(start):
            start = (self.nstart[0] * size[0], self.nstart[1] * size[1], self.nstart[2] * size[2])
        return Grid(
            shape=self.shape,
            voxel_size_angstrom=(size[2], size[1], size[0]),
            origin_angstrom=(start[2], start[1], start[0]),
        )

    def with_pixel_size(self, pixel_size_angstrom: float) -> "MrcHeader":
        """Return the header with the cell that gives this voxel size."""
        sampling = self._sampling()
        x, y, z = (m * pixel_size_angstrom for m in sampling)
        return replace(self, cell_angstrom=(x, y, z), sampling=sampling)


def permute(values: Int3, axes: Int3) -> Int3:
    """Reorder a triple given per column, row, section to x, y, z."""
    placed = dict(zip(axes, values, strict=True))
    return placed[1], placed[2], placed[3]
