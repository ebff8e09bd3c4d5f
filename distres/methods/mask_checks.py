"""What is counted of a mask, and what it is refused or warned of for."""

from math import prod
from typing import Any

from distres.engine.tables import Table
from distres.errors import InputError
from distres.io.grid import Grid

_FACES = ("first z", "last z", "first y", "last y", "first x", "last x")
_SMALL, _LARGE = 1e-3, 0.8


def mask_statistics(table: Table, grid: Grid) -> dict[str, Any]:
    """Return what the tiles counted, for the record."""
    voxels = prod(grid.shape)
    inside = int(table.sum("inside_vox"))
    faces = [int(n) for n in table.sum("face_vox")]
    return {
        "fraction": inside / voxels,
        "inside_vox": inside,
        "volume_angstrom3": inside * prod(grid.voxel_size_angstrom),
        "nonzero_fraction": int(table.sum("nonzero_vox")) / voxels,
        "mean": float(table.sum("weight")) / voxels,
        "binary": int(table.sum("between_vox")) == 0,
        "touches": [name for name, n in zip(_FACES, faces, strict=True) if n],
    }


def refuse_bad_values(path: str, table: Table) -> None:
    """Refuse a mask that is empty, or holds values that no mask holds.

    Raises
    ------
    InputError
        Says which.
    """
    low, high = float(table.columns["minimum"].min()), float(table.columns["maximum"].max())
    if int(table.sum("not_finite_vox")):
        raise InputError(f"the mask {path} holds values that are not finite; repair it")
    if low < 0 or high > 1:
        raise InputError(
            f"the mask {path} holds values from {low:g} to {high:g}; a mask lies between 0 and 1: "
            "is it a map?"
        )
    if high == 0:
        raise InputError(f"the mask {path} is empty (all voxels are 0); give another mask")


def box_warnings(statistics: dict[str, Any]) -> tuple[str, ...]:
    """Return warnings of a mask that touches the box, or fills very little or most of it."""
    found = []
    if statistics["touches"]:
        found.append(
            f"the mask touches the box edge ({', '.join(statistics['touches'])}): values there "
            "come from windows that reach outside the data"
        )
    fraction = statistics["fraction"]
    if fraction < _SMALL:
        found.append(f"the mask covers {100 * fraction:.3g} % of the box: is it the right one?")
    if fraction > _LARGE:
        found.append(
            f"the mask covers {100 * fraction:.0f} % of the box: little solvent is left outside"
        )
    return tuple(found)
