"""Reading MRC and CCP4 headers: byte order, oddities put right, and lengths that do not fit."""

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite, prod
from typing import Any

import numpy as np

from distres.errors import InputError
from distres.io.grid import Float3, float3
from distres.io.mrc import (
    HEADER_BYTES,
    HEADER_DTYPE,
    MODE_BITS,
    MODES,
    REFUSED_MODES,
    ByteOrder,
    Int3,
    MrcHeader,
    permute,
)

IMOD_STAMP = 1146047817
MAX_EXTENT = 1 << 20
MAX_EXTENDED_BYTES = 1 << 30
MAX_ORIGIN_ANGSTROM = 1e7


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
    angles = float3(record["angles"])
    if not any(angles) or not all(isfinite(angle) for angle in angles):
        angles = (90.0, 90.0, 90.0)
    unsigned = _is_unsigned(record)
    if unsigned:
        notices.append("mode 0 is read as unsigned bytes")
    statistics = tuple(float(record[key]) for key in ("dmin", "dmax", "dmean", "rms"))
    sampling = _triple(record["sampling"])
    cell = float3(record["cell"])
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
    origin = float3(record["origin"])
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


def _noticed(header: MrcHeader, sentence: str) -> MrcHeader:
    return replace(header, notices=(*header.notices, sentence))
