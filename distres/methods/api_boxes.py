"""Box FSC, RELION's local resolution and ResMap as functions that return an `xarray.Dataset`."""

from pathlib import Path
from typing import Any

import xarray as xr

from distres.io.volume import VolumeLike
from distres.methods.api_options import options_for
from distres.methods.blocres import BlocresParameters
from distres.methods.blocres_run import compute_blocres
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.resmap_run import compute_resmap
from distres.methods.spheres import SphereParameters
from distres.methods.spheres_run import compute_spheres

__all__ = ["blocres", "relion_locres", "resmap"]


def blocres(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    thresholds: tuple[float, ...] = (0.5, 0.143),
    pixel_size: float | None = None,
    symmetry: str = "C1",
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by BlocresParameters
) -> xr.Dataset:
    """Measure the FSC in a box around every voxel; see `distres.localfsc` for the arguments.

    Parameters
    ----------
    **parameters
        Further fields of `distres.methods.blocres.BlocresParameters`, for instance ``box_vox=21``.

    Returns
    -------
    xarray.Dataset
        ``locres`` in angstrom and ``flags`` (threshold, z, y, x), ``mask`` (z, y, x).
    """
    chosen = BlocresParameters(thresholds=thresholds, **parameters)
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
        return compute_blocres(half1, half2, chosen, options).dataset(load=output is None)


def relion_locres(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    pixel_size: float | None = None,
    symmetry: str = "C1",
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by SphereParameters
) -> xr.Dataset:
    """Compute RELION's local resolution; see `distres.localfsc` for the arguments.

    Parameters
    ----------
    **parameters
        Fields of `distres.methods.spheres.SphereParameters`.

    Returns
    -------
    xarray.Dataset
        ``locres`` in angstrom and ``flags`` (threshold, z, y, x), ``mask`` (z, y, x).
    """
    chosen = SphereParameters(**parameters)
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
        return compute_spheres(half1, half2, chosen, options).dataset(load=output is None)


def resmap(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    single: bool = False,
    pixel_size: float | None = None,
    symmetry: str = "C1",
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by ResmapParameters
) -> xr.Dataset:
    """Compute ResMap of two half maps or one map; see `distres.localfsc` for the arguments.

    Parameters
    ----------
    single
        Take `half1` as a single map even if it has a partner; an array without `half2` always is.
    **parameters
        Fields of `distres.methods.resmap_plan.ResmapParameters`.

    Returns
    -------
    xarray.Dataset
        ``locres`` in angstrom and ``flags`` (threshold, z, y, x), ``mask`` (z, y, x).
    """
    chosen = ResmapParameters(**parameters)
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
        done = compute_resmap(half1, half2, chosen, options, single=single)
        return done.dataset(load=output is None)
