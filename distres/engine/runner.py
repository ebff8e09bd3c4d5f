"""Run a job: every tile once, rows merged in tile order."""

from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, TileInputs, TileJob, TileResult, ZarrSource
from distres.engine.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a job, in tile order.

    Attributes
    ----------
    tiles
        (rows,) int64 tile indices.
    columns
        For every name of the row, an array (rows, ...).
    """

    tiles: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[Any]]

    def sum(self, name: str) -> npt.NDArray[Any]:
        """Sum a column over tiles: exactly for integers, correctly rounded for floats."""
        column = self.columns[name]
        if np.issubdtype(column.dtype, np.integer):
            return np.asarray(column.sum(axis=0))
        flat = column.reshape(len(column), -1)
        return np.array([fsum(flat[:, j]) for j in range(flat.shape[1])]).reshape(column.shape[1:])


def run_job(job: TileJob, *, run: Run, executor: Executor) -> Table:
    """Compute every tile of `job` that is not done yet and return all rows.

    Raises
    ------
    TileError
        A tile failed for good; everything that was done stays done.
    ResumeError
        The ledger was written by a job with other inputs or parameters.
    """
    for path, spec in job.outputs.items():
        create_output(run, path, spec, job)
    rows = []
    for index in job.todo:
        tile = job.plan.tile(index)
        result = job.function(TileInputs(tile=tile, sources=job.inputs), job.parameters)
        write_result(run, job, index, result)
        rows.append(result.row)
    names = rows[0].keys() if rows else ()
    return Table(
        tiles=np.array(job.todo, dtype=np.int64),
        columns={name: np.stack([np.asarray(row[name]) for row in rows]) for name in names},
    )


def create_output(run: Run, path: str, spec: OutputSpec, job: TileJob) -> None:
    """Create the array of one output, sharded by core."""
    d = spec.divisor
    shape = tuple(-(-n // d) for n in job.plan.shape)
    core = tuple(min(-(-c // d), n) for c, n in zip(job.plan.core, shape, strict=True))
    zarr.create_array(
        run.store,
        name=path,
        shape=(*spec.lead, *shape),
        chunks=(*spec.lead, *core),
        dtype=spec.dtype,
        fill_value=spec.fill_value,
    )


def write_result(run: Run, job: TileJob, index: int, result: TileResult) -> None:
    """Write the arrays of one tile."""
    for path, values in result.arrays.items():
        region = job.outputs[path].region(job.plan.tile(index))
        zarr.open_array(run.store, path=path, mode="r+")[(..., *region)] = values


def output(run: Run, path: str) -> ZarrSource:
    """Name an output of an earlier job as the input of the next."""
    return ZarrSource.of(run.store, path)
