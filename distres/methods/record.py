"""The record of a run: what was computed, from what, with what, and what came out."""

import platform
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from distres import __version__
from distres.engine.cluster import Executor
from distres.io.volume import Grid, Volume

_PACKAGES = ("numpy", "scipy", "torch", "zarr", "dask", "distributed", "xarray", "mrcfile", "gemmi")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a result."""
    found = {"distres": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_grid(grid: Grid) -> dict[str, Any]:
    """Return a grid as JSON values; all triples are (z, y, x)."""
    return {
        "shape": list(grid.shape),
        "voxel_size_angstrom": list(grid.voxel_size_angstrom),
        "origin_angstrom": list(grid.origin_angstrom),
        "axes": "zyx",
    }


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Wall time, CPU time and peak memory of this process since it was made."""

    started: float = field(default_factory=time.perf_counter)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def reading(self) -> dict[str, Any]:
        """Return what has been used so far."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "started": self.at,
            "wall_seconds": round(time.perf_counter() - self.started, 3),
            "driver_cpu_seconds": round(own.ru_utime + own.ru_stime, 3),
            "driver_peak_memory_bytes": own.ru_maxrss * 1024,
        }


def make_record(
    *,
    method: str,
    grid: Grid,
    inputs: Mapping[str, Volume],
    parameters: Mapping[str, Any],
    results: Mapping[str, Any],
    warnings: Sequence[str],
    executor: Executor,
    stopwatch: Stopwatch,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Put together ``run.json``.

    Parameters
    ----------
    method
        Name of the method, as its command is called.
    grid
        Grid of half map 1, which every output shares.
    inputs
        Volumes by role (half1, half2, mask).
    parameters
        Resolved parameters; names carry their units.
    results
        Keys ``outputs``, ``arrays``, ``histograms``, ``statistics`` and what the method adds.
    warnings
        What a reader must know before trusting the result.
    """
    return {
        "method": method,
        "version": __version__,
        "argv": list(argv),
        "inputs": {
            name: {"path": volume.path, **volume.identity()} for name, volume in inputs.items()
        },
        "grid": describe_grid(grid),
        "parameters": dict(parameters),
        **results,
        "warnings": list(warnings),
        "cluster": {
            "kind": executor.kind,
            "workers": executor.workers,
            "memory_bytes_per_worker": executor.memory_bytes,
        },
        "packages": package_versions(),
        "cost": stopwatch.reading(),
    }
