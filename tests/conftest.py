"""What every test may use."""

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

# As in workers: a kernel has one thread. More of them wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data that not every checkout has beside it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("DISTRES_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; set DISTRES_SHARED to use it")
    return folder


# MRC files made by hand, byte by byte, so that reading is not tested against our own writing.
CODES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}


def mrc_bytes(
    volume,
    *,
    mode=2,
    order="<",
    axes=(1, 2, 3),
    nstart=(0, 0, 0),
    sampling=None,
    voxel=(1.5, 1.5, 1.5),
    cell=None,
    angles=(90.0, 90.0, 90.0),
    ispg=1,
    extended=b"",
    origin=(0.0, 0.0, 0.0),
    map_id=b"MAP ",
    stamp=None,
    imod=(0, 0),
    stats=(0.0, -1.0, -2.0),
    labels=(),
):
    """Build a file. `volume` is (z, y, x); nstart, sampling, voxel, origin are x, y, z."""
    xyz = np.asarray(volume).transpose(2, 1, 0)
    columns, rows, sections = (axis - 1 for axis in axes)
    stored = xyz.transpose(sections, rows, columns)
    extents = stored.shape[::-1]
    sampling = sampling or xyz.shape
    cell = cell or tuple(m * v for m, v in zip(sampling, voxel, strict=True))
    starts = tuple(nstart[axis - 1] for axis in axes)
    stamp = stamp if stamp is not None else (b"DD\0\0" if order == "<" else b"\x11\x11\0\0")
    head = struct.pack(
        order + "10i6f3i3f2i",
        *extents,
        mode,
        *starts,
        *sampling,
        *cell,
        *angles,
        *axes,
        *stats,
        ispg,
        len(extended),
    )
    head += bytes(152 - len(head)) + struct.pack(order + "2i", *imod)
    head += bytes(196 - len(head)) + struct.pack(order + "3f", *origin) + map_id + stamp
    head += struct.pack(order + "fi", -1.0, len(labels))
    head += b"".join(label.encode().ljust(80) for label in labels)
    head += bytes(1024 - len(head))
    code = "u1" if mode == 0 and stored.min() >= 0 and stored.max() > 127 else CODES[mode]
    return head + extended + stored.astype(order + code).tobytes()


@pytest.fixture
def make_mrc(tmp_path):
    """Write such a file and return its path."""

    def make(volume, name="map.mrc", **fields) -> Path:
        path = tmp_path / name
        path.write_bytes(mrc_bytes(volume, **fields))
        return path

    make.bytes = mrc_bytes
    return make


@pytest.fixture
def ramp():
    """A small volume with three different lengths whose every voxel differs, (z, y, x)."""
    return np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7) - 40


@pytest.fixture
def namespaces(tmp_path):
    """Return what to put before a command that needs a network of its own; skip without it.

    Namespaces of such a command end with it: afterwards no process of the test may be left.
    """
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    own = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    trial = "mount -t tmpfs tmpfs /run && ip netns add trial && ip link add trial type bridge"
    tried = subprocess.run([*own, "bash", "-c", trial], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no network namespaces here: {tried.stderr.strip()}")
    yield own
    end = time.monotonic() + 60
    while left := processes_of(tmp_path):
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.2)


def processes_of(folder):
    """Name the processes that have a folder in their command line."""
    commands = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return [command for command in commands if str(folder) in command]
