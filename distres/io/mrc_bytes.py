"""The bytes of MRC files: streams of compressed ones, regions of plain ones."""

import bz2
import gzip
import os
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from distres.errors import InputError
from distres.io.grid import Region
from distres.io.mrc import MrcHeader
from distres.io.mrc_parse import check_length

_STREAM_BYTES = 1 << 24


def open_stream(path: Path, compression: str) -> IO[bytes]:
    """Open a file for reading, unpacking it on the way."""
    if compression == "gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if compression == "bz2":
        return cast("IO[bytes]", bz2.open(path, "rb"))
    return path.open("rb")


def read_exactly(stream: IO[bytes], count: int, name: str) -> bytes:
    """Read `count` bytes, fewer only at the end of the file; damage is told in one sentence."""
    parts, left = [], count
    try:
        while left and (part := stream.read(min(left, _STREAM_BYTES))):
            parts.append(part)
            left -= len(part)
    except EOFError:
        pass  # a compressed stream that ends early: what came before still counts the bytes
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name} cannot be unpacked, it is damaged: {error}") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    return b"".join(parts)


def skip(stream: IO[bytes], count: int, name: str) -> None:
    """Read and forget so many bytes, fewer only at the end of the file."""
    while count:
        part = read_exactly(stream, min(count, _STREAM_BYTES), name)
        if not part:
            return
        count -= len(part)


def check_end(stream: IO[bytes], name: str) -> None:
    """Read on to the end of the stream, where the decompressor compares its checksum."""
    while read_exactly(stream, _STREAM_BYTES, name):
        pass


def read_stored(path: Path, header: MrcHeader, region: Region) -> npt.NDArray[Any]:
    """Read sections, rows, columns by position: mapped pages would count as this process's own."""
    sections, rows, columns = region
    shape = tuple(s.stop - s.start for s in region)
    width, height, _ = header.extents
    itemsize = header.dtype.itemsize
    values = np.empty(shape, header.dtype)
    if 0 in shape:
        return values
    # Whole rows come in one call per section; narrow regions row by row.
    whole = 2 * shape[2] >= width
    rows_block = np.empty((shape[1], width), header.dtype) if whole else None
    with path.open("rb", buffering=0) as file:
        for i, section in enumerate(range(sections.start, sections.stop)):
            first_row = section * height + rows.start
            if rows_block is not None:
                offset = header.data_offset + first_row * width * itemsize
                _pread(file.fileno(), rows_block, offset, path, header)
                values[i] = rows_block[:, columns]
                continue
            for j in range(shape[1]):
                voxel = (first_row + j) * width + columns.start
                offset = header.data_offset + voxel * itemsize
                _pread(file.fileno(), values[i, j], offset, path, header)
    return values


def _pread(handle: int, into: npt.NDArray[Any], offset: int, path: Path, header: MrcHeader) -> None:
    buffer = memoryview(into.view(np.uint8).reshape(-1).data)
    while buffer:
        count = os.preadv(handle, [buffer], offset)
        if count == 0:
            check_length(header, name=str(path), stored_bytes=path.stat().st_size)
            raise InputError(f"{path} ended while it was read")
        buffer, offset = buffer[count:], offset + count
