"""What every local-resolution method ends with: statistics, MRC files, record, Dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from distres.engine.jobs import Source, TileInputs, TileJob, TileResult
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.io.volume import Grid
from distres.methods.dataset import open_run
from distres.methods.export import export_array
from distres.methods.record import make_record
from distres.methods.session import HalfMaps, Session

# Resolution bins of half a percent: finer than any method's own step, and the same for every run.
BIN_EDGES_ANGSTROM = np.geomspace(0.5, 500.0, 1383)
SURVEY_BYTES_PER_VOXEL = 40.0

FLAG_NEVER_ABOVE = 1
FLAG_NYQUIST = 2
FLAG_OUTSIDE = 4
FLAG_BORDER = 8
FLAG_RANGE_END = 16
FLAG_FINE_END = 32
FLAG_COARSE_END = 64
FLAG_NAMES = {
    FLAG_NEVER_ABOVE: "never above the threshold",
    FLAG_NYQUIST: "never crosses before Nyquist",
    FLAG_OUTSIDE: "outside the mask",
    FLAG_BORDER: "window reaches past the border",
    FLAG_RANGE_END: "at an end of the requested range",
    FLAG_FINE_END: "at the fine end of what can be told",
    FLAG_COARSE_END: "at the coarse end of what can be told",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a resolution map holds inside the mask.

    Attributes
    ----------
    counts
        (thresholds, bins) voxels per bin of `BIN_EDGES_ANGSTROM`.
    inside
        Voxels inside the mask.
    flagged
        Per flag bit, how many voxels carry it; one dictionary a threshold.
    """

    counts: npt.NDArray[np.int64]
    inside: int
    flagged: tuple[dict[int, int], ...]

    def percentile(self, threshold: int, percent: float) -> float:
        """Return a percentile in angstrom, exact to the half-percent bin; NaN when empty."""
        counts = self.counts[threshold]
        if not counts.sum():
            return float("nan")
        wanted = percent / 100 * counts.sum()
        cumulative = np.cumsum(counts)
        # The first bin that reaches the wanted count; empty bins are never it.
        index = int(np.searchsorted(cumulative, max(wanted, 1)))
        share = (wanted - (cumulative[index] - counts[index])) / counts[index]
        low, high = BIN_EDGES_ANGSTROM[index : index + 2]
        return float(low + max(share, 0.0) * (high - low))

    def statistics(self, threshold: int) -> dict[str, Any]:
        """Return what a summary shows, in angstrom."""
        resolved = int(self.counts[threshold].sum())
        return {
            **{f"p{p}": round(self.percentile(threshold, p), 3) for p in (5, 25, 75, 95)},
            "median": round(self.percentile(threshold, 50), 3),
            "voxels_in_mask": self.inside,
            "fraction_resolved": resolved / self.inside if self.inside else 0.0,
            "flags": {FLAG_NAMES[bit]: count for bit, count in self.flagged[threshold].items()},
        }


def survey_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Count resolutions and flags of one tile inside the mask."""
    locres, flags = inputs.core("locres"), inputs.core("flags")
    outside = (flags & FLAG_OUTSIDE) != 0
    counts = np.zeros((len(locres), len(BIN_EDGES_ANGSTROM) - 1), np.int64)
    bits = np.zeros((len(locres), len(FLAG_NAMES)), np.int64)
    for index, (values, flag, out) in enumerate(zip(locres, flags, outside, strict=True)):
        known = np.isfinite(values) & ~out
        counts[index] = np.histogram(values[known], BIN_EDGES_ANGSTROM)[0]
        bits[index] = [int(((flag & bit) != 0)[~out].sum()) for bit in FLAG_NAMES]
    inside = outside[0].size - int(outside[0].sum())
    return TileResult(row={"counts": counts, "bits": bits, "inside": np.int64(inside)})


def survey(session: Session, grid: Grid, *, locres: str, flags: str) -> Survey:
    """Count what a finished resolution map holds, tile by tile.

    Parameters
    ----------
    grid
        Grid of the map.
    locres, flags
        Arrays of the run's store, both (threshold, z, y, x): angstrom, and bits.
    """
    executor = session.executor
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=SURVEY_BYTES_PER_VOXEL,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=session.options.tile_vox,
        run=session.run,
    )
    job = TileJob(
        name=f"survey {locres}",
        plan=plan,
        function=survey_tile,
        inputs={"locres": output(session.run, locres), "flags": output(session.run, flags)},
        bytes_per_voxel=SURVEY_BYTES_PER_VOXEL,
    )
    table = run_job(job, run=session.run, executor=executor)
    bits = table.sum("bits")
    return Survey(
        counts=table.sum("counts"),
        inside=int(table.sum("inside")),
        flagged=tuple(
            {bit: int(n) for bit, n in zip(FLAG_NAMES, row, strict=True)} for row in bits
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """Where a method left its result in the run's store.

    Attributes
    ----------
    locres
        (threshold, z, y, x) float32, angstrom, NaN where undefined.
    flags
        (threshold, z, y, x) uint8, bits of `FLAG_NAMES`.
    mask
        (z, y, x) float32 in [0, 1].
    extra
        Further arrays by name, for instance ``filtered``.
    """

    locres: str = "locres"
    flags: str = "flags"
    mask: str = "mask"
    extra: Mapping[str, str] = field(default_factory=dict)


def export_maps(
    session: Session,
    maps: HalfMaps,
    method: str,
    thresholds: Sequence[str],
    arrays: Arrays,
) -> dict[str, str]:
    """Write the MRC files of a run and return their names by role.

    The first threshold has the plain name and a filled copy; the others carry their value.
    """
    run, grid, header = session.run, maps.half1.grid, maps.half1.header
    stem = f"{maps.stem}_{method}"
    written: dict[str, str] = {}

    def write(role: str, name: str, array: str, lead: tuple[int, ...], *, fill: bool) -> None:
        export_array(
            output(run, array),
            grid,
            header,
            run.directory / name,
            lead=lead,
            fill=fill,
            label=f"{method} {role}",
            overwrite=True,  # the run directory is this run's own
        )
        written[role] = name

    for index, threshold in enumerate(thresholds):
        suffix = "" if index == 0 else f"_t{threshold}"
        role = "locres" if index == 0 else f"locres_t{threshold}"
        write(role, f"{stem}_locres{suffix}.mrc", arrays.locres, (index,), fill=False)
        if index == 0:
            write("locres_fill", f"{stem}_locres_fill.mrc", arrays.locres, (0,), fill=True)
    write("mask", f"{stem}_mask.mrc", arrays.mask, (), fill=False)
    for role, array in arrays.extra.items():
        write(role, f"{stem}_{role}.mrc", array, (), fill=False)
    return written


def finish(
    session: Session,
    maps: HalfMaps,
    *,
    method: str,
    thresholds: Sequence[float | str],
    parameters: Mapping[str, Any],
    arrays: Arrays,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Count, export and record a finished computation; return the record.

    ``run.json`` is written last: a directory that has it holds a whole result. A method without a
    threshold gives a name in its place.
    """
    grid = maps.half1.grid
    found = survey(session, grid, locres=arrays.locres, flags=arrays.flags)
    names = [str(t) if isinstance(t, str) else f"{t:g}" for t in thresholds]
    edges = [float(edge) for edge in BIN_EDGES_ANGSTROM]
    results = {
        "outputs": export_maps(session, maps, method, names, arrays),
        "arrays": {
            "locres": arrays.locres,
            "flags": arrays.flags,
            "mask": arrays.mask,
            **arrays.extra,
        },
        "thresholds": [t if isinstance(t, str) else float(t) for t in thresholds],
        "statistics": {name: found.statistics(i) for i, name in enumerate(names)},
        "histograms": {
            name: {"edges_angstrom": edges, "counts": found.counts[i].tolist()}
            for i, name in enumerate(names)
        },
        **(extra or {}),
    }
    record = make_record(
        method=method,
        grid=grid,
        inputs=maps.volumes,
        parameters=parameters,
        results=results,
        warnings=[*maps.notes, *session.warnings],
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )
    session.run.write_record(record)
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRun:
    """A finished run of any method.

    Attributes
    ----------
    directory
        Where it lies.
    record
        What ``run.json`` says.
    density
        The half maps, or the map: what pictures show.
    """

    directory: Path
    record: dict[str, Any]
    density: tuple[Source, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        record = self.record
        return {
            "method": record["method"],
            "statistics": record["statistics"],
            "warnings": record["warnings"],
            "outputs": {
                name: str(self.directory / file) for name, file in record["outputs"].items()
            },
            "record": str(self.directory / "run.json"),
        }

    def dataset(self, *, load: bool = False) -> xr.Dataset:
        """Open the result, lazily unless `load`."""
        return open_run(self.directory, load=load)
