"""The process that computes tiles: one thread of maths, known Zarr settings, memory measured.

Sums in maths libraries may be split by the number of threads, so every process computes tiles
with one: the bits then agree wherever a tile runs.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import zarr

# What Python, Zarr and torch take before any voxel is read: measured 297 MB in a Dask worker
# (torch 2.13 on CPU, one transform done) and rounded up for fragments of freed blocks.
PROCESS_BYTES = 400_000_000

ZARR_SETTINGS: dict[str, Any] = {
    # A tile that is all fill value must still exist on disk, or holes look like results.
    "array.write_empty_chunks": True,
    "async.concurrency": 4,
    "threading.max_workers": 2,
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _limit_torch(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def settle_process() -> None:
    """Prepare a worker process; called before each tile, since a tile may be what loads torch."""
    if zarr.config.get("array.write_empty_chunks") is not True:
        zarr.config.set(ZARR_SETTINGS)
        for name in _THREADS:
            os.environ[name] = "1"
    _limit_torch(1)


@contextmanager
def settled_process() -> Iterator[None]:
    """Prepare this process as workers are, and put everything back afterwards."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else None
    kept = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with zarr.config.set(ZARR_SETTINGS):
            _limit_torch(1)
            yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if threads is not None:
            _limit_torch(threads)


def peak_memory_bytes() -> int:
    """Return the largest resident memory that this process ever had."""
    # Not getrusage: its figure survives exec and may be that of the parent.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(psutil.Process().memory_info().rss)


def available_memory_bytes() -> int:
    """Return the memory that can still be taken on this machine, or in this container."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
    except OSError:
        return available
    return available if limit == "max" else min(available, max(int(limit) - int(used), 0))


def available_cpus() -> int:
    """Return the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
