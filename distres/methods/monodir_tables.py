"""The tables of a MonoDir run as CSV: preferred directions, profiles, slopes."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distres.kernels.directions import tilt_and_rotation
from distres.methods.monodir import MonoDirResult
from distres.methods.monodir_profiles import PROFILES, Profiles


def preferred_directions(result: MonoDirResult) -> list[dict[str, Any]]:
    """Return one row a direction: where it points, and how often it has the highest resolution.

    Returns
    -------
    list of dict
        ``tilt_degrees`` (from z), ``rotation_degrees`` (from x towards y), ``x``, ``y``, ``z``,
        ``places`` in the mask with their highest resolution along it, their ``share`` of all
        places, and the ``resolution_angstrom`` there (None without any).
    """
    rows = []
    angles = tilt_and_rotation(result.directions)
    for (tilt, rotation), (z, y, x), hits, total in zip(
        angles.tolist(),
        result.directions.tolist(),
        result.hits.tolist(),
        result.hit_sums.tolist(),
        strict=True,
    ):
        rows.append(
            {
                "tilt_degrees": round(tilt, 3),
                "rotation_degrees": round(rotation, 3),
                "x": round(x, 6),
                "y": round(y, 6),
                "z": round(z, 6),
                "places": hits,
                "share": round(hits / max(result.points, 1), 6),
                "resolution_angstrom": round(total / hits, 4) if hits else None,
            }
        )
    return rows


def write_tables(
    directory: Path, stem: str, result: MonoDirResult, profiles: Profiles
) -> dict[str, str]:
    """Write directions, profiles and slopes as ``<stem>_<kind>.csv``; return the names by kind."""
    rows = preferred_directions(result)
    names = {kind: f"{stem}_{kind}.csv" for kind in ("directions", "profiles", "slopes")}
    _write(directory / names["directions"], tuple(rows[0]), [tuple(row.values()) for row in rows])
    columns = [f"{name}_{what}" for name in PROFILES for what in ("mean", "sd", "voxels")]
    _write(
        directory / names["profiles"],
        ("radius_angstrom", *columns),
        (
            [f"{radius:.4g}", *_cells(profiles, place)]
            for place, radius in enumerate(profiles.radius_angstrom)
        ),
    )
    _write(
        directory / names["slopes"],
        ("map", "slope", "slope_error", "intercept_angstrom"),
        (
            [name, *(_number(v) for v in (line.slope, line.slope_error, line.intercept_angstrom))]
            for name, line in profiles.lines.items()
        ),
    )
    return names


def _cells(profiles: Profiles, place: int) -> list[str]:
    found = []
    for name in PROFILES:
        mean, deviation = profiles.means[name][place], profiles.deviations[name][place]
        found += [_number(mean), _number(deviation), str(int(profiles.voxels[name][place]))]
    return found


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
