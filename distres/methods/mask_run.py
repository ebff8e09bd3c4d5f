"""The command `distres mask`: a mask on its own, written as MRC."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source
from distres.engine.tiles import Region
from distres.errors import InputError, OutputExistsError
from distres.io.grid import slabs_of
from distres.io.halves import find_partner
from distres.io.mrc_write import write_mrc
from distres.io.names import stem_of
from distres.io.volume import Volume, VolumeLike, open_volume
from distres.methods.mask import auto_mask, search_level
from distres.methods.mask_plan import MaskParameters
from distres.methods.mask_tiles import MASK, OCCUPANCY
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.record import make_record
from distres.methods.session import Session, open_half_maps, open_session

logger = logging.getLogger(__name__)

_FILE_SUFFIXES = (".mrc", ".map", ".ccp4")
# Sections written at a time.
_SLAB_VOX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRun:
    """A finished mask.

    Attributes
    ----------
    path
        The MRC file.
    directory
        The run; None when only the file was kept.
    record
        What ``run.json`` says.
    density
        The maps it was made from, as sources to draw.
    """

    path: Path
    directory: Path | None
    record: dict[str, Any]
    density: tuple[Source, ...]


def make_mask(
    half1: VolumeLike,
    half2: VolumeLike | None = None,
    *,
    options: RunOptions | None = None,
    parameters: MaskParameters | None = None,
    single: bool = False,
) -> MaskRun:
    """Make a mask from two half maps, or from one map, and write it as MRC.

    Parameters
    ----------
    half1, half2
        Half maps. When only one map is given, its partner is looked for by name, and without one
        it is taken as a single map.
    options
        `output` may name an MRC file; otherwise it is a run directory, which also keeps the Zarr
        store and the record.
    parameters
        None for the defaults.
    single
        Take `half1` as a single map even if it has a partner.

    Raises
    ------
    InputError
        A map cannot be read, or nothing in it stands out from noise.
    """
    options = options or RunOptions()
    volumes, stem = _open(half1, half2, options, single=single)
    with _places(options, stem) as (inner, target):
        if target.exists() and not (options.overwrite or options.resume):
            raise OutputExistsError(
                f"{target} exists; use --overwrite to replace it, or another --output"
            )
        with open_session(inner, default_output=f"{stem}_mask") as session:
            kept = session.run.directory if target.parent == session.run.directory else None
            return _run(session, volumes, target, parameters, kept=kept)


def _open(
    half1: VolumeLike, half2: VolumeLike | None, options: RunOptions, *, single: bool
) -> tuple[dict[str, Volume], str]:
    """Open what was given: ``map``, or ``half1`` and ``half2``."""
    if half2 is None and not single and isinstance(half1, str | Path):
        try:
            find_partner(half1)
        except InputError:
            logger.info("%s has no partner: noise is judged from its solvent", half1)
            single = True
    if half2 is None and (single or not isinstance(half1, str | Path)):
        volume = open_volume(half1, options.pixel_size_angstrom)
        return {"map": volume}, stem_of(volume.path)
    halves = open_half_maps(half1, half2, replace(options, mask=None))
    return halves.volumes, halves.stem


@contextmanager
def _places(options: RunOptions, stem: str) -> Iterator[tuple[RunOptions, Path]]:
    """Yield options whose output is a run directory, and the MRC file to write."""
    output = options.output
    if output is None or output.suffix.lower() not in _FILE_SUFFIXES:
        yield options, (output or Path(f"{stem}_mask")) / f"{stem}_mask.mrc"
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the file, so that workers on other machines see it and it fits where the file fits.
    with TemporaryDirectory(prefix=".distres-mask-", dir=output.parent) as place:
        inner = replace(options, output=Path(place) / "run", resume=False, overwrite=False)
        yield inner, output


def _run(
    session: Session,
    volumes: dict[str, Volume],
    target: Path,
    parameters: MaskParameters | None,
    *,
    kept: Path | None,
) -> MaskRun:
    first = next(iter(volumes.values()))
    count = search_level(first.shape) + 1
    levels = [
        ingest(volume, session.run, name, session.executor, count)
        for name, volume in volumes.items()
    ]
    mask = auto_mask(
        levels[0],
        levels[1] if len(levels) > 1 else None,
        first.grid,
        session.run,
        session.executor,
        parameters,
        tile=session.options.tile_vox,
    )
    for warning in mask.warnings:
        session.warn(warning)
    write_mrc(
        target,
        first.grid,
        first.header,
        slabs(mask.source),
        label="mask",
        overwrite=True,
    )
    record = make_record(
        method="mask",
        grid=first.grid,
        inputs=volumes,
        parameters=mask.parameters,
        results={
            "outputs": {"mask": target.name},
            "arrays": {MASK: mask.path, OCCUPANCY: mask.occupancy.path},
            "histograms": {},
            "statistics": {"kind": mask.kind, **mask.statistics},
        },
        warnings=session.warnings,
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )
    session.run.write_record(record)
    density = tuple(level[0] for level in levels)
    return MaskRun(path=target, directory=kept, record=record, density=density)


def slabs(source: Source) -> Iterator[tuple[Region, npt.NDArray[np.float32]]]:
    """Read a volume along z, a few sections at a time."""
    for region in slabs_of(source.shape[-3:], _SLAB_VOX):
        yield region, np.asarray(source.read(region), dtype=np.float32)
