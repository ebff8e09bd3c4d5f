"""FSC curves as files: CSV for spreadsheets, STAR for RELION's readers, XML for the EMDB."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import gemmi
import numpy as np
import numpy.typing as npt

from distres.errors import InputError

Curve = npt.NDArray[np.float64]

# What RELION writes where 1 / frequency has no value.
NO_RESOLUTION_ANGSTROM = 999.0

_STAR_CURVES = {
    "corrected": "rlnFourierShellCorrelationCorrected",
    "unmasked": "rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "rlnFourierShellCorrelationMaskedMaps",
    "randomised": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
}


def _resolution(frequency_per_angstrom: Curve, none: float) -> Curve:
    resolution = np.full_like(frequency_per_angstrom, none)
    np.divide(1.0, frequency_per_angstrom, out=resolution, where=frequency_per_angstrom > 0)
    return resolution


def write_csv(path: Path, frequency_per_angstrom: Curve, columns: Mapping[str, Curve]) -> Path:
    """Write one line a shell.

    Parameters
    ----------
    path
        File to write.
    frequency_per_angstrom
        Shell centres, ascending.
    columns
        Further columns by name, one value a shell. Whole numbers are written as such.
    """
    resolution = _resolution(frequency_per_angstrom, np.inf)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["shell", "frequency_per_angstrom", "resolution_angstrom", *columns])
        for shell, row in enumerate(
            zip(frequency_per_angstrom, resolution, *columns.values(), strict=True)
        ):
            writer.writerow([shell, *(f"{value:.9g}" for value in row)])
    return path


def write_columns(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a table: a line of names, then one line for each value of all columns."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_star(
    path: Path,
    frequency_per_angstrom: Curve,
    curves: Mapping[str, Curve],
    general: Mapping[str, str | float],
) -> Path:
    """Write a STAR file as RELION's post-processing does.

    Parameters
    ----------
    path
        File to write.
    frequency_per_angstrom
        Shell centres, ascending.
    curves
        ``unmasked``, and with a mask ``masked``, ``randomised``, ``corrected``. Without a mask the
        unmasked curve also stands in the corrected column, which readers look for.
    general
        Items of the block ``general``, names without the underscore.
    """
    document = gemmi.cif.Document()
    block = document.add_new_block("general")
    for name, value in general.items():
        text = gemmi.cif.quote(value) if isinstance(value, str) else f"{value:.6f}"
        block.set_pair(f"_{name}", text)
    known = {"corrected": curves.get("corrected", curves["unmasked"]), **curves}
    names = ["rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution"]
    names += [label for key, label in _STAR_CURVES.items() if key in known]
    loop = document.add_new_block("fsc").init_loop("_", names)
    values = [known[key] for key in _STAR_CURVES if key in known]
    resolution = _resolution(frequency_per_angstrom, NO_RESOLUTION_ANGSTROM)
    for shell, row in enumerate(zip(frequency_per_angstrom, resolution, *values, strict=True)):
        loop.add_row([str(shell), *(f"{value:.6f}" for value in row)])
    document.write_file(str(path))
    return path


def write_emdb_xml(path: Path, frequency_per_angstrom: Curve, curve: Curve, *, title: str) -> Path:
    """Write the form in which the EMDB takes a curve at deposition.

    Parameters
    ----------
    path
        File to write.
    frequency_per_angstrom
        Shell centres, ascending.
    curve
        The FSC that is deposited.
    title
        What the curve is.

    Raises
    ------
    InputError
        The frequencies do not ascend, or a value is not finite.
    """
    if not (np.diff(frequency_per_angstrom) > 0).all() or not np.isfinite(curve).all():
        raise InputError(f"{path}: an EMDB curve needs ascending frequencies and finite values")
    root = Tree.Element(
        "fsc", title=title, xaxis="Resolution (A-1)", yaxis="Correlation Coefficient"
    )
    for frequency, value in zip(frequency_per_angstrom, curve, strict=True):
        point = Tree.SubElement(root, "coordinate")
        Tree.SubElement(point, "x").text = f"{frequency:.6f}"
        Tree.SubElement(point, "y").text = f"{value:.6f}"
    Tree.indent(root)
    Tree.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)
    return path
