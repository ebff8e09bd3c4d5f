"""Say what a file, an image or a run holds, without reading its voxels."""

import json
from pathlib import Path
from typing import Any

import zarr

from distres.errors import InputError
from distres.io.halves import find_partner
from distres.io.mrc import MODES, REFUSED_MODES, MrcHeader
from distres.io.mrc_volume import read_header, why_not_a_volume
from distres.io.omezarr import OmeZarrVolume, is_zarr, open_node, own_attributes
from distres.io.stores import as_store
from distres.methods.results import arrays_of, list_arrays, split_run

AXES = "xyz"


def describe(path: str) -> dict[str, Any]:
    """Return what is known about a path, as JSON values; triples are x, y, z.

    Raises
    ------
    InputError
        There is nothing there, or it is none of what we read.
    """
    store, inner = split_run(path)
    if store is not None and not inner:
        return _describe_run(path, store)
    if is_zarr(path):
        return _describe_zarr(path)
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder, neither an OME-Zarr image nor a run")
    return _describe_mrc(path)


def _describe_mrc(path: str) -> dict[str, Any]:
    header, compression, _ = read_header(path)
    reason = why_not_a_volume(header, path=path)
    voxel = header.voxel_size_angstrom
    if reason is None and voxel is None:
        reason = "has no voxel size; give --pixel-size"
    found: dict[str, Any] = {
        "path": path,
        "format": "MRC" + (f", {compression}" if compression else ""),
        "usable": reason is None,
        **({} if reason is None else {"why_not": reason}),
        "size_vox": list(header.extents_xyz),
        "voxel_size_angstrom": None if voxel is None else [_rounded(v) for v in voxel],
        "type": _type(header),
        "byte_order": "little" if header.byte_order == "<" else "big",
        "axis_order": "".join(AXES[axis - 1] for axis in header.axes),
        "nstart": list(header.nstart),
        "origin_angstrom": [_rounded(v) for v in header.origin],
        "cell_angstrom": [_rounded(v) for v in header.cell_angstrom],
        "sampling": list(header.sampling),
        "angles_degrees": [_rounded(v) for v in header.angles_degrees],
        "space_group": header.space_group,
        "stored_statistics": dict(
            zip(("minimum", "maximum", "mean", "rms"), header.statistics, strict=True)
        ),
        "extended_header_bytes": header.extended_bytes,
        "labels": list(header.labels),
        "notices": list(header.notices),
    }
    if reason is None:
        start = header.grid().origin_angstrom
        found["first_voxel_angstrom"] = [_rounded(v) for v in reversed(start)]
    return found | _partner(path)


def _describe_zarr(path: str) -> dict[str, Any]:
    node = open_node(path)
    found: dict[str, Any] = {"path": path, "format": f"Zarr {node.metadata.zarr_format}"}
    try:
        volume = OmeZarrVolume.open(path)
    except InputError as error:
        arrays = list_arrays(path) if isinstance(node, zarr.Group) else {}
        held = {"arrays": {name: _array(array) for name, array in sorted(arrays.items())}}
        return {**found, "usable": False, "why_not": str(error), **held}
    if isinstance(node, zarr.Group):
        found["format"] = "OME-Zarr " + ("0.4" if node.metadata.zarr_format == 2 else "0.5")
    found |= {
        "usable": True,
        "size_vox": list(reversed(volume.shape)),
        "voxel_size_angstrom": [_rounded(v) for v in reversed(volume.grid.voxel_size_angstrom)],
        "first_voxel_angstrom": [_rounded(v) for v in reversed(volume.grid.origin_angstrom)],
        "levels": {
            level.path or ".": _array(
                zarr.open_array(as_store(volume.store), path=level.path, mode="r")
            )
            for level in volume.levels
        },
        "level_filter": volume.halving or "unknown",
        "mrc_header_kept": volume.header is not None,
    }
    if volume.statistics:
        found["statistics"] = dict(volume.statistics)
    return found | _partner(path)


def _describe_run(path: str, store: str) -> dict[str, Any]:
    found: dict[str, Any] = {"path": path, "format": "distres run"}
    record = Path(store).parent / "run.json"
    if record.is_file():
        try:
            whole = json.loads(record.read_text())
        except ValueError as error:
            raise InputError(f"{record} is damaged: {error}") from error
        keys = ("method", "version", "grid", "parameters", "statistics", "warnings")
        found |= {key: whole[key] for key in keys if key in whole}
    else:
        found["notices"] = ["the run is not finished; --resume goes on with it"]
    found_arrays = list_arrays(arrays_of(store))
    found["arrays"] = {name: _array(array) for name, array in sorted(found_arrays.items())}
    return found


def _array(array: zarr.Array[Any]) -> dict[str, Any]:
    own = own_attributes(dict(array.attrs))
    facts: dict[str, Any] = {"shape_zyx": list(array.shape), "type": str(array.dtype)}
    facts["chunks"] = list(array.chunks)
    if array.shards:
        facts["shards"] = list(array.shards)
    if "statistics" in own:
        facts["statistics"] = own["statistics"]
    return facts


def _type(header: MrcHeader) -> str:
    if header.mode in MODES:
        return f"{header.dtype.newbyteorder('=').name} (mode {header.mode})"
    return f"{REFUSED_MODES[header.mode]} (mode {header.mode})"


def _partner(path: str) -> dict[str, Any]:
    try:
        partner = find_partner(path)
    except InputError:
        return {}
    return {"other_half": partner.path, "pairing_rule": partner.rule}


def _rounded(value: float) -> float:
    """Round to the digits that float32 headers hold."""
    return float(f"{value:.7g}")
