"""What every local-resolution method ends with: statistics, MRC files, record, Dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import TileInputs, TileJob, TileResult
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.io.volume import Grid
from distres.methods.session import Session

# Resolution bins of half a percent: finer than any method's own step, and the same for every run.
BIN_EDGES_ANGSTROM = np.geomspace(0.5, 500.0, 1383)
SURVEY_BYTES_PER_VOXEL = 40.0

FLAG_NEVER_ABOVE = 1
FLAG_NYQUIST = 2
FLAG_OUTSIDE = 4
FLAG_BORDER = 8
FLAG_RANGE_END = 16
FLAG_NAMES = {
    FLAG_NEVER_ABOVE: "never above the threshold",
    FLAG_NYQUIST: "never crosses before Nyquist",
    FLAG_OUTSIDE: "outside the mask",
    FLAG_BORDER: "window reaches past the border",
    FLAG_RANGE_END: "at an end of the requested range",
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
        cumulative = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
        filled = np.concatenate([[True], counts > 0])
        return float(
            np.interp(percent / 100 * counts.sum(), cumulative[filled], BIN_EDGES_ANGSTROM[filled])
        )

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
