"""DeepRes and the oversharpening scan as functions that return an `xarray.Dataset`."""

from pathlib import Path
from typing import Any

import xarray as xr

from distres.io.volume import VolumeLike
from distres.methods.api_options import options_for
from distres.methods.deepres_plan import DeepResParameters
from distres.methods.deepres_run import compute_deepres
from distres.methods.options import ends_of
from distres.methods.oversharp import OversharpParameters
from distres.methods.oversharp_run import compute_oversharp

__all__ = ["deepres", "oversharp"]


def deepres(
    density: VolumeLike,
    mask: VolumeLike | None = None,
    *,
    model: str = "auto",
    resolution_range: tuple[float, float] | None = None,
    pixel_size: float | None = None,
    symmetry: str = "C1",
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
        Further fields of `distres.methods.deepres_plan.DeepResParameters`, for instance
        ``stride=8``.

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
        symmetry=symmetry,
        device=chosen.device,
    ) as options:
        return compute_deepres(density, chosen, options).dataset(load=output is None)


def oversharp(
    density: VolumeLike,
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    b_range: tuple[float, float] = (-200.0, 100.0),
    model: str = "auto",
    weights: str | None = None,
    device: str = "auto",
    pixel_size: float | None = None,
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by OversharpParameters
) -> xr.Dataset:
    """Tell whether a map is sharpened too far; see `distres.localfsc` for the other arguments.

    Parameters
    ----------
    density
        The map in question, sharpened or not: path, address, `xarray.DataArray` or array.
    half1, half2
        Its half maps, as they were reconstructed.
    b_range
        B-factors tried, in square angstrom, in any order; negative ones sharpen.
    model, weights, device
        Of the network, see `deepres`.
    **parameters
        Further fields of `distres.methods.oversharp.OversharpParameters`, for instance
        ``b_step=10`` or ``low_pass_angstrom=3.2``.

    Returns
    -------
    xarray.Dataset
        ``sharpened``, the map under the B-factor found, ``locres`` of the halves in angstrom and
        ``mask``, (z, y, x); percentiles of DeepRes in angstrom by ``b_square_angstrom``:
        ``deepres_angstrom``, ``p5_angstrom``, ``median_angstrom``, ``p80_angstrom``; what was
        found in ``attrs["oversharp"]``, with the ``verdict`` in words.
    """
    low, high = sorted(b_range)
    chosen = OversharpParameters(b_from=high, b_to=low, **parameters)
    network = DeepResParameters(model=model, weights=weights, device=device)
    with options_for(
        output,
        mask=mask,
        pixel_size=pixel_size,
        client=client,
        memory=memory,
        resume=resume,
        overwrite=overwrite,
        device=device,
    ) as options:
        done = compute_oversharp(density, half1, half2, chosen, network, options)
        found = done.dataset(load=output is None)
    along = "b_square_angstrom"
    curve = {n: (along, values) for n, values in done.record["oversharp"]["curve"].items()}
    return found.assign(curve | {"locres": found.locres.isel(threshold=0)}).set_coords(along)
