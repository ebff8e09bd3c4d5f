"""Global FSC of a volume that no worker can hold, from windows side by side.

The exact way for such volumes (`distres.methods.fsc_passes`) goes through transforms on disk, up to
eight of them. Where the FSC is only a judge of the halves, the average of the periodograms of
windowed blocks (Welch 1967, IEEE Trans. Audio Electroacoust. 15, 70) tells the same: it reads
everything once, writes nothing, and its shells are as wide as a block allows.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from distres.engine.cluster import Executor
from distres.engine.jobs import Source, TileInputs, TileJob, TileResult
from distres.engine.planner import memory_needed
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tiles import Shape3, TilePlan
from distres.errors import ClusterError
from distres.kernels.shells import Shells, shell_sums, shells_of
from distres.methods.fsc_memory import WHOLE_BYTES_PER_VOXEL, memory_per_worker
from distres.methods.fsc_result import FscParameters, FscResult, result_of
from distres.methods.fsc_survey import survey
from distres.methods.fsc_tiles import HALVES, read_normalised

# Edges to try, in voxels. The smallest still has 32 shells.
EDGES_VOX = (256, 192, 128, 96, 64)


def fsc_in_windows(
    sources: Mapping[str, Source],
    voxel_size_angstrom: tuple[float, float, float],
    parameters: FscParameters,
    run: Run,
    executor: Executor,
) -> FscResult:
    """Estimate the unmasked FSC from windowed blocks that tile the volume.

    Parameters
    ----------
    sources
        ``half1`` and ``half2``, (z, y, x) float32.
    voxel_size_angstrom
        Voxel edges (z, y, x).
    parameters
        Choices; those of the phase randomisation are not used.
    run, executor
        Where rows are kept and blocks are computed.

    Returns
    -------
    FscResult
        On the shells of one block. What is left over at the far faces is not measured.

    Raises
    ------
    InputError
        A half has no correlation, see `distres.methods.fsc_survey.survey`.
    ClusterError
        Not even the smallest block fits into a worker.
    """
    halves = {name: sources[name] for name in HALVES}
    z, y, x = halves["half1"].shape
    found = survey(halves, (z, y, x), run=run, executor=executor)
    plan = choose_windows((z, y, x), executor)
    job = windows_job(
        halves,
        voxel_size_angstrom,
        plan,
        mean=found.mean,
        scale=tuple(1 / deviation for deviation in found.deviation),
    )
    table = run_job(job, run=run, executor=executor)
    shells = Shells(shape=plan.core, voxel_size_angstrom=voxel_size_angstrom)
    sums = table.sum("sums")[None] / len(job.todo)
    return result_of(shells, sums, shells.count, found, parameters)


def choose_windows(shape: Shape3, executor: Executor) -> TilePlan:
    """Choose the largest block that fits a worker.

    Raises
    ------
    ClusterError
        None does.
    """
    memory = memory_per_worker(executor)
    for edge in EDGES_VOX:
        z, y, x = (min(edge, n) for n in shape)
        plan = TilePlan(shape=shape, core=(z, y, x), halo=(0, 0, 0))
        needed = memory_needed(plan, bytes_per_voxel=WHOLE_BYTES_PER_VOXEL)
        if needed <= memory:
            return plan
    raise ClusterError(
        f"{memory / 1e6:.0f} MB of memory a worker is too little for the FSC of blocks of "
        f"{EDGES_VOX[-1]} voxels; raise --memory to at least {needed / 1e6:.0f} MB"
    )


def windows_job(
    halves: Mapping[str, Source],
    voxel_size_angstrom: tuple[float, float, float],
    plan: TilePlan,
    *,
    mean: tuple[float, ...] = (0.0, 0.0),
    scale: tuple[float, ...] = (1.0, 1.0),
) -> TileJob:
    """Return the job that sums shells over the whole blocks of a plan."""
    return TileJob(
        name="fsc-windows",
        plan=plan,
        function=windowed,
        inputs=halves,
        parameters={
            "shape": list(plan.core),
            "voxel_size_angstrom": list(voxel_size_angstrom),
            "mean": list(mean),
            "scale": list(scale),
        },
        tiles=tuple(
            tile.index
            for tile in plan
            if prod(s.stop - s.start for s in tile.core) == prod(plan.core)
        ),
        bytes_per_voxel=WHOLE_BYTES_PER_VOXEL,
    )


def windowed(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Sum the shells of one block under a Hann window: row ``sums`` (3, count + 1)."""
    shells = shells_of(parameters["shape"], parameters["voxel_size_angstrom"])
    spectra = []
    for name in HALVES:
        block = read_normalised(inputs, name, parameters, inputs.tile.core)
        for axis, length in enumerate(block.shape):
            along = [1, 1, 1]
            along[axis] = length
            block *= hann(length).reshape(along)
        spectra.append(scipy.fft.rfftn(block, workers=1))
    return TileResult(row={"sums": shell_sums(spectra[0], spectra[1], shells)})


def hann(length: int) -> npt.NDArray[np.float32]:
    """Return a Hann window with a mean square of 1, so that powers stay what they are."""
    phase = 2 * np.pi * (np.arange(length) + 0.5) / length
    window = 0.5 - 0.5 * np.cos(phase)
    normal: npt.NDArray[np.float32] = (window / np.sqrt(np.mean(window**2))).astype(np.float32)
    return normal
