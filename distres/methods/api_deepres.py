"""DeepRes as a function that returns an `xarray.Dataset`."""

from pathlib import Path
from typing import Any

import xarray as xr

from distres.io.volume import VolumeLike
from distres.methods.api_options import options_for
from distres.methods.deepres import DeepResParameters
from distres.methods.deepres_run import compute_deepres
from distres.methods.options import ends_of

__all__ = ["deepres"]


def deepres(
    density: VolumeLike,
    mask: VolumeLike | None = None,
    *,
    model: str = "auto",
    resolution_range: tuple[float, float] | None = None,
    pixel_size: float | None = None,
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by DeepResParameters
) -> xr.Dataset:
    """Read the local resolution of one map with a network; see `distres.localfsc` for the rest.

    Parameters
    ----------
    density
        One map, sharpened or not: path, address, `xarray.DataArray` or array.
    model
        ``auto``, ``A`` or ``B``.
    resolution_range
        Resolutions expected, in angstrom; they choose the model.
    **parameters
        Further fields of `distres.methods.deepres.DeepResParameters`, for instance ``stride=8``.

    Returns
    -------
    xarray.Dataset
        ``locres`` in angstrom and ``flags`` (threshold, z, y, x) of one entry named after the
        model; ``uncertainty`` in angstrom and ``mask`` (z, y, x).
    """
    fine, coarse = ends_of(resolution_range)
    chosen = DeepResParameters(
        model=model, finest_angstrom=fine, coarsest_angstrom=coarse, **parameters
    )
    with options_for(
        output,
        mask=mask,
        pixel_size=pixel_size,
        client=client,
        memory=memory,
        resume=resume,
        overwrite=overwrite,
        device=chosen.device,
    ) as options:
        return compute_deepres(density, chosen, options).dataset(load=output is None)
