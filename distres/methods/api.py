"""What `import distres` offers: each method as one function that returns an `xarray.Dataset`."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from distres.io.volume import VolumeLike
from distres.methods.api_options import options_for
from distres.methods.curves import curve_at
from distres.methods.dataset import open_run
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.options import ends_of

__all__ = ["fsc", "local_fsc_at", "localfsc", "open_run"]


def localfsc(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    thresholds: tuple[float, ...] = (0.5, 0.143),
    resolution_range: tuple[float, float] | None = None,
    pixel_size: float | None = None,
    filtered: bool = False,
    symmetry: str = "C1",
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by LocalFscParameters
) -> xr.Dataset:
    """Measure the local resolution at every voxel of a mask.

    Parameters
    ----------
    half1, half2
        Paths, addresses of OME-Zarr images, `xarray.DataArray` with coordinates in angstrom, or
        (z, y, x) NumPy arrays. Half 2 is found by name when it is None and half 1 is a path.
    mask
        The same kinds of things, values in [0, 1]; made automatically when None.
    thresholds
        Correlations at which the resolution is read, all in one pass.
    resolution_range
        Resolutions to test, in angstrom, in any order.
    pixel_size
        Voxel size in angstrom that replaces what the inputs say; arrays need it.
    filtered
        Also return ``filtered``: the mean of the halves, low-passed at the local resolution.
    symmetry
        Point group of the particle, for instance ``"D7"`` or ``"I"``: one unit is solved.
    output
        Run directory to keep. Without it the result is read into memory and nothing is kept.
    client
        A `distributed.Client` to compute with; without it this process computes.
    memory
        Memory of one worker, for instance ``"4GB"``.
    resume, overwrite
        What to do when `output` holds a run.
    **parameters
        Further fields of `distres.methods.localfsc_plan.LocalFscParameters`.

    Returns
    -------
    xarray.Dataset
        ``locres`` in angstrom (NaN where undefined) and ``flags``, both (threshold, z, y, x), and
        ``mask`` (z, y, x); coordinates in angstrom; parameters, inputs, versions, statistics and
        warnings in ``attrs``.

    Raises
    ------
    distres.errors.InputError
        The inputs cannot be used: the message says what differs and what to do.
    distres.errors.UsageError
        A parameter makes no sense.
    """
    fine, coarse = ends_of(resolution_range)
    chosen = LocalFscParameters(
        thresholds=thresholds, finest_angstrom=fine, coarsest_angstrom=coarse, **parameters
    )
    with options_for(
        output,
        mask=mask,
        pixel_size=pixel_size,
        symmetry=symmetry,
        client=client,
        memory=memory,
        resume=resume,
        overwrite=overwrite,
        device=chosen.device,
    ) as options:
        done = compute_localfsc(half1, half2, chosen, options, filtered=filtered)
        return done.dataset(load=output is None)


def fsc(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    thresholds: tuple[float, ...] = (0.143, 0.5),
    pixel_size: float | None = None,
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by FscParameters
) -> xr.Dataset:
    """Measure the global FSC; see `localfsc` for the arguments.

    Returns
    -------
    xarray.Dataset
        The curves against frequency in 1/angstrom; resolutions per threshold in ``attrs``.
    """
    from distres.methods.fsc import FscParameters
    from distres.methods.fsc_run import run_fsc

    chosen = FscParameters(thresholds=thresholds, **parameters)
    with options_for(
        output,
        mask=mask,
        pixel_size=pixel_size,
        client=client,
        memory=memory,
        resume=resume,
        overwrite=overwrite,
    ) as options:
        return run_fsc(half1, half2, chosen, options).result.to_dataset()


def local_fsc_at(directory: str | Path, point_angstrom: tuple[float, float, float]) -> xr.DataArray:
    """Return the local FSC curve at one point of a finished local FSC.

    Parameters
    ----------
    directory
        Run directory.
    point_angstrom
        (z, y, x) in the coordinates of the map.

    Returns
    -------
    xarray.DataArray
        Correlation against ``frequency`` in 1/angstrom.
    """
    frequency, correlation = curve_at(Path(directory), point_angstrom)
    return _curve(frequency, correlation, point_angstrom)


def _curve(
    frequency: npt.NDArray[np.float64],
    correlation: npt.NDArray[np.float64],
    point: tuple[float, float, float],
) -> xr.DataArray:
    return xr.DataArray(
        correlation,
        {"frequency": ("frequency", frequency, {"units": "1/angstrom"})},
        ("frequency",),
        name="local_fsc",
        attrs={"point_angstrom_zyx": list(point)},
    )
