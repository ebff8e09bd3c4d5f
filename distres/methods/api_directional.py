"""MonoDir as a function that returns an `xarray.Dataset`."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from distres.engine.elsewhere import store_of
from distres.io.volume import VolumeLike
from distres.methods.api_options import options_for
from distres.methods.dataset import grid_coordinates, lazy_array
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_run import compute_monodir
from distres.methods.monodir_tiles import STRIDE
from distres.methods.options import ends_of

__all__ = ["monodir"]


def monodir(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    mask: VolumeLike | None = None,
    *,
    single: bool = False,
    resolution_range: tuple[float, float] | None = None,
    pixel_size: float | None = None,
    symmetry: str = "C1",
    output: str | Path | None = None,
    client: Any = None,  # noqa: ANN401 - Dask ships no types
    memory: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **parameters: Any,  # noqa: ANN401 - checked by MonoDirParameters
) -> xr.Dataset:
    """Measure local resolution by direction; see `distres.localfsc` for the other arguments.

    Parameters
    ----------
    single
        Take `half1` as a single map even if it has a partner; an array without `half2` always is.
    resolution_range
        Resolutions to test, in angstrom, in any order.
    **parameters
        Further fields of `distres.methods.monodir_plan.MonoDirParameters`, for instance
        ``directions=46``, ``cone_degrees=20`` or ``keep_directions=True``.

    Returns
    -------
    xarray.Dataset
        ``highest``, ``lowest``, ``anisotropy``, ``radial``, ``tangential`` in angstrom and
        ``zscore``, (z, y, x); ``adr`` (also as ``locres``), ``monores`` and ``flags`` (threshold,
        z, y, x); ``mask``; ``preferred`` and ``axis`` by ``direction``: the share of places with
        their highest resolution along it, and where it points (z, y, x). With
        ``keep_directions`` also ``directional``, at every second voxel.
    """
    fine, coarse = ends_of(resolution_range)
    chosen = MonoDirParameters(finest_angstrom=fine, coarsest_angstrom=coarse, **parameters)
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
        done = compute_monodir(half1, half2, chosen, options, single=single)
        found = done.dataset(load=output is None)
        return _with_directions(found, done.directory, done.record, load=output is None)


def _with_directions(
    found: xr.Dataset, directory: Path, record: dict[str, Any], *, load: bool
) -> xr.Dataset:
    """Add what belongs to directions."""
    rows = record["monodir"]["preferred_directions"]
    found = found.assign(
        preferred=("direction", np.array([row["share"] for row in rows])),
        axis=(("direction", "zyx"), np.array([[row[a] for a in "zyx"] for row in rows])),
    )
    path = record["monodir"]["directional"]
    if path is None:
        return found
    array = zarr.open_array(store_of(directory), path=path, mode="r")
    dims = tuple(f"{axis}_half" for axis in "zyx")
    values: Any = np.asarray(array[...]) if load else lazy_array(array)
    coords = {
        dim: (dim, coordinate.values[::STRIDE], {"units": "angstrom"})
        for dim, coordinate in zip(dims, grid_coordinates(record["grid"]).values(), strict=True)
    }
    attributes = {"units": "angstrom", "long_name": "resolution by direction"}
    return found.assign_coords(coords).assign(
        directional=(("direction", *dims), values, attributes)
    )
