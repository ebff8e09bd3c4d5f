"""Many tomograms with one summary: each is a run of its own, and a finished one is kept."""

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distres.engine.files import write_durably
from distres.errors import DistresError, InputError, OutputExistsError, UsageError
from distres.methods.options import RunOptions
from distres.methods.products import MethodRun
from tomo.monotomo import METHOD, MonoTomoParameters, compute_monotomo, summary_row
from tomo.pairs import TomogramPair

logger = logging.getLogger(__name__)

COLUMNS = (
    "tomogram",
    "median_angstrom",
    "p5_angstrom",
    "p95_angstrom",
    "fraction_resolved",
    "thickness_angstrom",
    "warnings",
    "directory",
    "state",
)

Row = dict[str, Any]


def run_batch(
    pairs: Sequence[TomogramPair],
    parameters: MonoTomoParameters,
    options: RunOptions,
    *,
    done: Callable[[MethodRun], None] | None = None,
) -> list[Row]:
    """Compute MonoTomo of several tomograms, one after the other.

    A tomogram that fails does not stop the others; its row says why. With `options.resume` a
    finished tomogram is taken as it is and a begun one goes on.

    Parameters
    ----------
    pairs
        The tomograms.
    parameters, options
        For all of them; `options.output` is the folder that holds one run for each.
    done
        Called for each tomogram that was computed.

    Returns
    -------
    list
        One row a tomogram, also written as ``summary.csv`` and ``summary.star``.

    Raises
    ------
    UsageError
        No folder was named.
    OutputExistsError
        The folder has the summary of a batch.
    InputError
        Not one tomogram could be computed.
    """
    if options.output is None:
        raise UsageError("name the folder for the runs of several tomograms with --output")
    folder = options.output
    if (folder / "summary.csv").exists() and not (options.resume or options.overwrite):
        raise OutputExistsError(
            f"{folder} has the summary of a batch; go on with --resume, replace it with "
            "--overwrite, or name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for number, pair in enumerate(pairs, 1):
        logger.info("tomogram %d of %d: %s", number, len(pairs), pair.name)
        rows.append(_one(pair, parameters, options, folder / pair.name, done))
        write_summary(folder, rows)
    if all(row["state"] != "done" for row in rows):
        raise InputError(f"no tomogram could be computed; the first: {rows[0]['state']}")
    return rows


def _one(
    pair: TomogramPair,
    parameters: MonoTomoParameters,
    options: RunOptions,
    directory: Path,
    done: Callable[[MethodRun], None] | None,
) -> Row:
    finished = _finished(directory) if options.resume else None
    try:
        if finished is None:
            own = replace(options, output=directory)
            finished = compute_monotomo(pair.even, pair.odd, parameters, own)
            if done is not None:
                done(finished)
    except DistresError as error:
        if error.exit_code not in (2, 3):
            raise
        logger.warning("%s: %s", pair.name, error)
        return dict.fromkeys(COLUMNS, None) | {"tomogram": pair.name, "state": str(error)}
    return summary_row(finished) | {"tomogram": pair.name, "state": "done"}


def _finished(directory: Path) -> MethodRun | None:
    """Return the run in a directory when it was finished."""
    try:
        record = json.loads((directory / "run.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return MethodRun(directory=directory, record=record) if record.get("method") == METHOD else None


def write_summary(folder: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Write one row a tomogram as CSV and as STAR."""
    table, star = folder / "summary.csv", folder / "summary.star"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({k: _text(row[k], "") for k in COLUMNS} for row in rows)
    lines = ["# distres tomo monotomo", "", "data_tomograms", "", "loop_"]
    lines += [f"_{name} #{i}" for i, name in enumerate(STAR_NAMES.values(), 1)]
    lines += [" ".join(_quoted(_text(row[k], "none")) for k in STAR_NAMES) for row in rows]
    write_durably(star, ("\n".join(lines) + "\n").encode())
    return table, star


STAR_NAMES = {
    "tomogram": "rlnTomoName",
    "median_angstrom": "distresMedianResolution",
    "p5_angstrom": "distresResolutionP5",
    "p95_angstrom": "distresResolutionP95",
    "fraction_resolved": "distresFractionResolved",
    "thickness_angstrom": "distresThickness",
    "directory": "distresRun",
}


def _text(value: Any, none: str) -> str:  # noqa: ANN401
    return none if value is None else str(value)


def _quoted(text: str) -> str:
    return f'"{text}"' if not text or any(c.isspace() for c in text) else text
