"""The local resolution at the places of particles: STAR in, STAR out with one column more."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from gemmi import cif

from distres.engine.elsewhere import store_of
from distres.engine.files import write_durably
from distres.errors import InputError, OutputExistsError
from tomo.star import read_star

COLUMN = "_distresLocalResolution"
VOXELS = ("_rlnCoordinateX", "_rlnCoordinateY", "_rlnCoordinateZ")
CENTRED = ("_rlnCenteredCoordinateXAngst", "_rlnCenteredCoordinateYAngst",
           "_rlnCenteredCoordinateZAngst")  # fmt: skip
NAME = "_rlnTomoName"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleResolutions:
    """What was read at the particles of one tomogram.

    Attributes
    ----------
    values
        Angstrom; NaN where a particle lies outside or has no resolution.
    """

    values: Floats

    def summary(self) -> dict[str, Any]:
        """Return counts and percentiles as JSON values."""
        known = self.values[np.isfinite(self.values)]
        found = {"particles": len(self.values), "with_resolution": len(known)}
        if not len(known):
            return found
        p5, median, p95 = (float(v) for v in np.percentile(known, [5, 50, 95]))
        return {**found, "p5_angstrom": p5, "median_angstrom": median, "p95_angstrom": p95}


def resolution_at_particles(
    directory: Path,
    star: Path,
    output: Path,
    *,
    tomogram: str | None = None,
    overwrite: bool = False,
) -> ParticleResolutions:
    """Add the local resolution to a table of particles.

    Parameters
    ----------
    directory
        A finished run of any method.
    star
        Particles with ``rlnCoordinateX`` ... (voxels of the tomogram, counted from 0) or
        ``rlnCenteredCoordinateXAngst`` ... (angstrom from the centre, as RELION 5 writes).
    output
        Where the table goes, with the column ``distresLocalResolution`` (0: none).
    tomogram
        Only particles with this ``rlnTomoName`` are read; the others get 0.
    overwrite
        Replace a table that exists.

    Raises
    ------
    InputError
        The run is not finished, or the table lacks coordinates, or names of tomograms.
    OutputExistsError
        The table exists.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} exists; use --overwrite or another --output")
    try:
        record = json.loads((directory / "run.json").read_text())
        array = zarr.open_array(store_of(directory), path=record["arrays"]["locres"], mode="r")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{directory} holds no finished run; finish it with --resume") from error
    document = read_star(star)
    loop, columns = _particles(document, star)
    try:
        places = np.array([[float(row[c]) for c in columns] for row in _rows(loop)]).reshape(-1, 3)
    except ValueError as error:
        raise InputError(f"{star} has a coordinate that is no number: {error}") from error
    voxels = _voxels(places, columns[0] in _tags(loop, CENTRED), record["grid"])
    values = _nearest(array, voxels)
    if tomogram is not None:
        names = _tags(loop, (NAME,))
        if not names:
            raise InputError(f"{star} has no rlnTomoName to choose by; leave out --tomogram")
        here = np.array([cif.as_string(row[names[0]]) == tomogram for row in _rows(loop)])
        values[~here] = np.nan
    if not _tags(loop, (COLUMN,)):
        loop.add_columns([COLUMN], "0")
    (column,) = _tags(loop, (COLUMN,))
    for row, value in enumerate(values):
        loop[row, column] = f"{value:.3f}" if np.isfinite(value) else "0"
    write_durably(output, document.as_string().encode())
    return ParticleResolutions(values=values)


def _particles(document: cif.Document, star: Path) -> tuple[cif.Loop, list[int]]:
    """Find the table with coordinates, and their columns."""
    for block in document:
        for item in block:
            loop = item.loop
            for wanted in (VOXELS, CENTRED) if loop is not None else ():
                columns = _tags(loop, wanted)
                if len(columns) == 3:
                    return loop, columns
    raise InputError(
        f"{star} has no table with rlnCoordinateX, Y, Z or rlnCenteredCoordinateXAngst, Y, Z"
    )


def _tags(loop: cif.Loop, wanted: tuple[str, ...]) -> list[int]:
    tags = list(loop.tags)
    return [tags.index(name) for name in wanted if name in tags]


def _rows(loop: cif.Loop) -> list[list[str]]:
    width, values = loop.width(), list(loop.values)
    return [values[i : i + width] for i in range(0, len(values), width)]


def _voxels(places: Floats, centred: bool, grid: dict[str, Any]) -> npt.NDArray[np.int64]:
    """Return the nearest voxels (z, y, x)."""
    found = places[:, ::-1].astype(np.float64)
    if centred:
        shape, step = np.array(grid["shape"]), np.array(grid["voxel_size_angstrom"])
        found = found / step + shape // 2
    return np.rint(found).astype(np.int64)


def _nearest(array: "zarr.Array[Any]", voxels: npt.NDArray[np.int64]) -> Floats:
    """Read single voxels, section by section."""
    values = np.full(len(voxels), np.nan)
    inside = ((voxels >= 0) & (voxels < np.array(array.shape[-3:]))).all(axis=1)
    for z in np.unique(voxels[inside, 0]):
        here = np.flatnonzero(inside & (voxels[:, 0] == z))
        section = np.asarray(array[0, int(z)])
        values[here] = section[voxels[here, 1], voxels[here, 2]]
    return values
