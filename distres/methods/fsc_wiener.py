"""Anisotropic Wiener filter: the mean of both halves, each wave weighted by its 3D FSC.

For a correlation C between halves the mean holds signal and noise power as 2 C to 1 - C, so the
weight that leaves the least error is ``2 C / (1 + C)``. C is read by shell and direction (conical
FSC), and nothing passes from where a direction's curve has fallen for good: what it shows beyond
is chance.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileInputs, TileJob, TileResult
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan
from distres.io.volume import Volume
from distres.kernels.cells import Cells
from distres.kernels.fourier import irfftn, rfftn
from distres.kernels.shells import Float, shells_of
from distres.methods.export import export_array

WEIGHTS = "fsc/wiener_weights"
FILTERED = "wiener"

# A curve has fallen once so many shells in a row lie below.
FALLEN = 0.05
RUN = 3

Parameters = Mapping[str, Any]


def wiener_weights(over_cells: Float) -> Float:
    """Return the weight of every cell of direction and shell.

    Parameters
    ----------
    over_cells
        (cells, shells) correlation of the halves; NaN where nothing was measured.

    Returns
    -------
    (cells, shells) between 0 and 1; the mean, in shell 0, passes.
    """
    known = np.clip(np.nan_to_num(over_cells), 0, 1)
    known[:, 0] = 1
    low = known < FALLEN
    fallen = low.copy()
    for ahead in range(1, RUN):
        fallen[:, :-ahead] &= low[:, ahead:]
    gone = np.logical_or.accumulate(fallen, axis=1)
    weights: Float = np.where(gone, 0, 2 * known / (1 + known))
    return weights


def wiener_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Filter the mean of two halves, whole.

    Parameters
    ----------
    inputs
        ``half1``, ``half2``, and ``weights`` (cells, shells).
    parameters
        ``shape``, ``voxel_size_angstrom`` (z, y, x), ``rings``.
    """
    shells = shells_of(parameters["shape"], parameters["voxel_size_angstrom"])
    cells = Cells(rings=parameters["rings"])
    table = np.asarray(inputs.sources["weights"].read((slice(None), slice(None))), np.float32)
    table = np.concatenate([table, np.zeros((len(table), 1), np.float32)], axis=1)
    mean = (inputs.core("half1") + inputs.core("half2")).astype(np.float32) * np.float32(0.5)
    spectrum = rfftn(torch.from_numpy(mean))
    plane = spectrum.numpy()
    nz, ny, nx = shells.shape
    az, ay, ax = shells.voxel_size_angstrom
    ky, kx = np.fft.fftfreq(ny, ay)[:, None], np.fft.rfftfreq(nx, ax)
    for z, kz in enumerate(np.fft.fftfreq(nz, az)):
        plane[z] *= table[cells.index(kz, ky, kx), shells.plane(z)]
    return TileResult(arrays={FILTERED: irfftn(spectrum, shells.shape).numpy()})


def write_filtered(
    sources: Mapping[str, Source],
    over_cells: Float,
    like: Volume,
    path: Path,
    run: Run,
    executor: Executor,
    *,
    cells: Cells,
    bytes_per_voxel: float,
) -> None:
    """Filter the mean of two halves by their 3D FSC and write it as MRC.

    Parameters
    ----------
    sources
        ``half1`` and ``half2``.
    over_cells
        (cells, shells) 3D FSC as a table.
    like
        Gives grid and header.
    path
        File to write.
    run, executor
        Where arrays lie and where the filter is computed: one worker holds the whole volume.
    cells
        Of the table.
    bytes_per_voxel
        Memory of that worker.
    """
    grid = like.grid
    weights = wiener_weights(over_cells).astype(np.float32)
    zarr.create_array(run.store, name=WEIGHTS, data=weights, overwrite=True)
    job = TileJob(
        name="fsc wiener filter",
        plan=TilePlan.whole(grid.shape),
        function=wiener_tile,
        inputs={
            "half1": sources["half1"],
            "half2": sources["half2"],
            "weights": output(run, WEIGHTS),
        },
        outputs={FILTERED: OutputSpec()},
        parameters={
            "shape": list(grid.shape),
            "voxel_size_angstrom": list(grid.voxel_size_angstrom),
            "rings": cells.rings,
        },
        bytes_per_voxel=bytes_per_voxel,
    )
    run_job(job, run=run, executor=executor)
    export_array(
        output(run, FILTERED),
        grid,
        like.header,
        path,
        label="distres Wiener filter",
        overwrite=True,
    )
