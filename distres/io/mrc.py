"""MRC and CCP4 headers: every oddity on reading, and what a file says about its voxels.

The layout follows the MRC2014 description (Cheng et al. 2015, doi:10.1016/j.jsb.2015.04.002).
Reading a header never touches the voxels, so it costs the same for a terabyte.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite, prod
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
IMOD_STAMP = 1146047817
MAX_EXTENT = 1 << 20
MAX_EXTENDED_BYTES = 1 << 30
# Outside these, a cell divided by its sampling is a damaged header, not a voxel.
VOXEL_RANGE_ANGSTROM = (1e-3, 1e5)
MAX_ORIGIN_ANGSTROM = 1e7

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


def parse_header(raw: bytes, *, name: str, stored_bytes: int | None = None) -> MrcHeader:
    """Read the first 1024 bytes of an MRC or CCP4 file.

    Parameters
    ----------
    raw
        At least the first 1024 bytes.
    name
        What errors call the file.
    stored_bytes
        Length of the whole file, None when unknown (compressed files).

    Raises
    ------
    InputError
        When this is no MRC header, or the file is shorter than its header says.
    """
    if len(raw) < HEADER_BYTES:
        raise InputError(
            f"{name} holds {len(raw)} bytes, fewer than the {HEADER_BYTES} of an MRC header"
        )
    orders: tuple[ByteOrder, ...] = ("<", ">")
    records = {
        order: np.frombuffer(raw[:HEADER_BYTES], HEADER_DTYPE.newbyteorder(order))[0]
        for order in orders
    }
    scores = {order: _plausibility(rec, stored_bytes, order) for order, rec in records.items()}
    order = max(scores, key=scores.__getitem__)
    if scores[order] < 0:
        raise InputError(f"{name} is not an MRC file: {_why_implausible(records['<'])}")
    header = _header(records[order], order)
    if stored_bytes is not None:
        header = check_length(header, name=name, stored_bytes=stored_bytes)
    return header


def check_length(header: MrcHeader, *, name: str, stored_bytes: int) -> MrcHeader:
    """Refuse a file that is shorter than its header says; notice one that is longer.

    Raises
    ------
    InputError
        Naming both byte counts.
    """
    expected = header.data_offset + header.data_bytes
    if stored_bytes < expected:
        x, y, z = header.extents_xyz
        raise InputError(
            f"{name} is truncated or its header is damaged: {x} x {y} x {z} voxels of mode "
            f"{header.mode} need {expected} bytes, the file has {stored_bytes}"
        )
    if stored_bytes > expected:
        return _noticed(header, f"{stored_bytes - expected} bytes after the voxels are ignored")
    return header


def _plausibility(record: np.void, stored_bytes: int | None, order: ByteOrder) -> int:
    """Score one byte order; negative when the header cannot mean anything in it."""
    extents = [int(n) for n in record["extents"]]
    axes = sorted(int(a) for a in record["axes"])
    extended = int(record["nsymbt"])
    mode = int(record["mode"])
    if mode not in MODES and mode not in REFUSED_MODES:
        return -1
    if not all(1 <= n <= MAX_EXTENT for n in extents) or axes not in ([1, 2, 3], [0, 0, 0]):
        return -1
    if not 0 <= extended <= MAX_EXTENDED_BYTES:
        return -1
    score = 4 * (axes == [1, 2, 3])
    if stored_bytes is not None:
        bits = MODE_BITS.get(mode) or np.dtype(MODES[mode]).itemsize * 8
        score += 8 * (HEADER_BYTES + extended + -(-prod(extents) * bits // 8) == stored_bytes)
    # The machine stamp decides last: files with swapped data and a native stamp are common.
    return score + (int(record["stamp"][0]) == (0x44 if order == "<" else 0x11))


def _why_implausible(record: np.void) -> str:
    extents = " x ".join(str(int(n)) for n in record["extents"])
    axes = ", ".join(str(int(a)) for a in record["axes"])
    return (
        f"in neither byte order do its size ({extents}), mode ({int(record['mode'])}) and axis "
        f"order ({axes}) make sense"
    )


def _header(record: np.void, order: ByteOrder) -> MrcHeader:
    """Turn a record into a header, putting right what can be and saying so."""
    notices: list[str] = []
    axes = _triple(record["axes"])
    if axes == (0, 0, 0):
        axes = (1, 2, 3)
        notices.append("the axis order is unset; columns, rows, sections are taken as x, y, z")
    extents = _triple(record["extents"])
    has_id = bytes(record["map"]).startswith(b"MAP")
    if not has_id:
        notices.append("the header has no MAP identifier (an old writer); its ORIGIN is ignored")
    stamp = int(record["stamp"][0])
    if has_id and stamp in (0x44, 0x11) and (stamp == 0x44) != (order == "<"):
        notices.append("the machine stamp contradicts the data's byte order; the data decide")
    angles = _floats(record["angles"])
    if not any(angles) or not all(isfinite(angle) for angle in angles):
        angles = (90.0, 90.0, 90.0)
    unsigned = _is_unsigned(record)
    if unsigned:
        notices.append("mode 0 is read as unsigned bytes")
    statistics = tuple(float(record[key]) for key in ("dmin", "dmax", "dmean", "rms"))
    sampling = _triple(record["sampling"])
    cell = _floats(record["cell"])
    extents_xyz = permute(extents, axes)
    if int(record["ispg"]) == 0 and extents_xyz[2] > 1:
        notices.append("the header says images (ispg 0); the file is read as one volume")
    if _stack_of_sections(sampling, cell, extents_xyz):
        cell = (cell[0], cell[1], cell[2] / extents_xyz[2])
        notices.append("the cell height covers all sections although mz is 1")
    return MrcHeader(
        nstart=permute(_triple(record["nstart"]), axes),
        origin=_origin(record, has_id, notices),
        cell_angstrom=cell,
        sampling=sampling,
        angles_degrees=angles,
        space_group=int(record["ispg"]),
        labels=_labels(record),
        statistics=(statistics[0], statistics[1], statistics[2], statistics[3]),
        mode=int(record["mode"]),
        unsigned=unsigned,
        byte_order=order,
        extents=extents,
        axes=axes,
        extended_bytes=int(record["nsymbt"]),
        extended_type=bytes(record["exttyp"]).decode("ascii", "replace").strip("\0 "),
        notices=tuple(notices),
    )


def _stack_of_sections(sampling: Int3, cell: Float3, extents_xyz: Int3) -> bool:
    """Tell whether mz is 1 (an image-stack header) but the cell is as high as the volume."""
    depth = extents_xyz[2]
    if sampling[2] != 1 or depth == 1 or sampling[0] < 1 or not isfinite(cell[2]):
        return False
    width = cell[0] / sampling[0]
    return isfinite(width) and abs(cell[2] - depth * width) < 0.01 * width


def _is_unsigned(record: np.void) -> bool:
    """Tell whether mode 0 holds unsigned bytes: IMOD's flag, else a maximum no int8 can reach."""
    if int(record["mode"]) != 0:
        return False
    if int(record["imod_stamp"]) == IMOD_STAMP:
        return not int(record["imod_flags"]) & 1
    return float(record["dmax"]) > 127.0 and float(record["dmin"]) >= 0.0


def _origin(record: np.void, has_id: bool, notices: list[str]) -> Float3:
    origin = _floats(record["origin"])
    if not has_id:  # old headers keep tilt angles there
        return (0.0, 0.0, 0.0)
    if not all(isfinite(value) and abs(value) < MAX_ORIGIN_ANGSTROM for value in origin):
        notices.append("ORIGIN holds no usable numbers and is ignored")
        return (0.0, 0.0, 0.0)
    return origin


def _labels(record: np.void) -> tuple[str, ...]:
    count = int(record["nlabl"])
    rows = record["labels"][: count if 0 <= count <= 10 else 10]
    texts = (bytes(row).decode("ascii", "replace").strip("\0 ") for row in rows)
    return tuple(text for text in texts if text)


def _triple(values: Iterable[Any]) -> Int3:
    a, b, c = (int(value) for value in values)
    return a, b, c


def _floats(values: Iterable[Any]) -> Float3:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _noticed(header: MrcHeader, sentence: str) -> MrcHeader:
    return replace(header, notices=(*header.notices, sentence))
