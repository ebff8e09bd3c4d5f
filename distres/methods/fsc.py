"""Global Fourier shell correlation of two half maps, with and without the effect of the mask."""

from collections.abc import Mapping

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.jobs import Source
from distres.engine.run import Run
from distres.errors import InputError
from distres.io.volume import Grid, Volume
from distres.kernels.shells import Shells
from distres.methods.fsc_memory import fits
from distres.methods.fsc_passes import sum_shells
from distres.methods.fsc_result import Crossing, FscParameters, FscResult, result_of
from distres.methods.fsc_survey import survey
from distres.methods.pyramid import readable

__all__ = ["Crossing", "FscParameters", "FscResult", "compute_fsc", "fsc_of_sources"]


def compute_fsc(
    half1: Volume,
    half2: Volume,
    mask: Volume | None,
    parameters: FscParameters,
    run: Run,
    executor: Executor,
    *,
    at_once: bool | None = None,
    tile_vox: int | None = None,
) -> FscResult:
    """Compute the global FSC of two half maps of any size.

    Parameters
    ----------
    half1, half2
        Half maps on one grid; edges and voxels may differ between axes.
    mask
        Soft mask in [0, 1] on the same grid. With it come the masked, phase-randomised and
        corrected curves.
    parameters
        Choices.
    run, executor
        Where intermediate transforms lie and where tiles are computed.
    at_once
        Hold the whole volume in one worker (True) or go slab by slab (False); None decides by the
        memory of a worker. The answer is the same to about 1e-6.
    tile_vox
        Planes of a slab; None chooses by memory.

    Raises
    ------
    InputError
        The volumes do not lie on one grid, or their values have no correlation.

    Notes
    -----
    ``corrected = (masked - randomised) / (1 - randomised)`` from two shells beyond the first
    randomised one, ``masked`` before (Chen et al. 2013, Ultramicroscopy 135, 24).
    """
    _require_one_grid(half1, half2, mask)
    volumes = {"half1": half1, "half2": half2} | ({} if mask is None else {"mask": mask})
    return fsc_of_sources(
        readable(volumes, run, executor),
        half1.grid,
        parameters,
        run,
        executor,
        at_once=fits(half1.grid.shape, executor) if at_once is None else at_once,
        tile_vox=tile_vox,
    )


def fsc_of_sources(
    sources: Mapping[str, Source],
    grid: Grid,
    parameters: FscParameters,
    run: Run,
    executor: Executor,
    *,
    at_once: bool,
    tile_vox: int | None = None,
) -> FscResult:
    """Compute the global FSC of halves that can be read in any order; see `compute_fsc`.

    Parameters
    ----------
    sources
        ``half1``, ``half2`` and perhaps ``mask``, all on `grid`.
    """
    shells = Shells(shape=grid.shape, voxel_size_angstrom=grid.voxel_size_angstrom)
    found = survey(sources, shells.shape, run=run, executor=executor, tile_vox=tile_vox)
    summed = sum_shells(
        sources,
        shells,
        found,
        seed=parameters.seed,
        repeats=parameters.repeats,
        randomise_from_angstrom=parameters.randomise_from_angstrom,
        at_once=at_once,
        run=run,
        executor=executor,
        tile_vox=tile_vox,
    )
    return result_of(shells, summed.sums, summed.first_shell, found, parameters)


def _require_one_grid(half1: Volume, half2: Volume, mask: Volume | None) -> None:
    grid = half1.grid
    others = {"half 2": half2} | ({} if mask is None else {"the mask": mask})
    for name, other in others.items():
        if other.grid.shape != grid.shape:
            raise InputError(
                f"{name} has {other.grid.shape} voxels (z, y, x) but half 1 has {grid.shape}; all "
                "must cover the same box"
            )
        sizes = (other.grid.voxel_size_angstrom, grid.voxel_size_angstrom)
        if not np.allclose(*sizes, rtol=1e-3, atol=0):
            raise InputError(
                f"{name} has voxels of {sizes[0]} angstrom (z, y, x) but half 1 has {sizes[1]}; "
                "correct the wrong header or give the pixel size"
            )
    if min(grid.shape) < 4:
        raise InputError(
            f"an FSC needs at least 4 voxels along every axis, half 1 has {grid.shape} (z, y, x)"
        )
