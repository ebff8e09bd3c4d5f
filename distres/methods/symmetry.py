"""Symmetric particles: one asymmetric unit is solved, and all others are given its answer.

A method gets the unit in the place of its mask, and knows no more of symmetry than that. Tiles are
planned around the unit, and those without any of it are not read. Nothing else changes: every
voxel solved has the surroundings, and the answer, that it has without symmetry.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan
from distres.errors import InputError
from distres.io.volume import Grid
from distres.kernels.symmetry import generators, operators, settings_of
from distres.kernels.symmetry_check import Agreement, Float3, agreement
from distres.methods.mask import MaskResult, search_level
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
from distres.methods.nearby import FewCells, tiles_near
from distres.methods.options import RunOptions
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.session import HalfMaps, Session
from distres.methods.symmetry_tiles import (
    FLAGS,
    LOCRES,
    UNIT,
    UNIT_OCCUPANCY,
    expand_tile,
    unit_tile,
)

logger = logging.getLogger(__name__)

# Around the unit so many voxels are solved as well: its mates fall between voxels.
MARGIN_VOX = 2.0
# Copies are compared on the first level whose longest edge is at most this.
CHECK_EDGE_VOX = 128
DOUBTFUL = 0.9
REFUSED = 0.7
UNIT_BYTES_PER_VOXEL = 40.0
EXPAND_BYTES_PER_VOXEL = 160.0


class _Answered(Protocol):
    """What all methods return: where resolutions and flags lie in the run's store."""

    @property
    def locres(self) -> str: ...

    @property
    def flags(self) -> str: ...


Answer = TypeVar("Answer", bound=_Answered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What a method solves: the mask, or one asymmetric unit of it.

    Attributes
    ----------
    source
        Voxels to solve, (z, y, x) float32.
    occupancy
        Largest value of each cell.
    mask
        The whole mask.
    settings
        Point group on the grid as JSON values; None without symmetry.
    facts
        What the record keeps.
    """

    source: ZarrSource
    occupancy: ZarrSource
    mask: MaskResult
    settings: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def expanded(self, session: Session, result: Answer, *, mask_above: float = 0.0) -> Answer:
        """Give every voxel of the mask the answer of its mate; return the result with new paths.

        Parameters
        ----------
        result
            What a method left in the run's store for the unit.
        mask_above
            Mask values above this are inside, as the method has it.
        """
        if self.settings is None:
            return result
        locres = output(session.run, result.locres)
        flags = output(session.run, result.flags)
        z, y, x = self.settings["shape"]
        plan = _plan(session, (z, y, x), EXPAND_BYTES_PER_VOXEL)
        lead = locres.shape[:1]
        job = TileJob(
            name="symmetry expansion",
            plan=plan,
            function=expand_tile,
            inputs={"locres": locres, "flags": flags, "mask": self.mask.source},
            outputs={
                LOCRES: OutputSpec(lead=lead),
                FLAGS: OutputSpec(dtype="uint8", lead=lead, fill_value=FLAG_OUTSIDE),
            },
            parameters={**self.settings, "mask_above": mask_above},
            tiles=tiles_near(self.mask.occupancy, plan),
            bytes_per_voxel=EXPAND_BYTES_PER_VOXEL,
        )
        run_job(job, run=session.run, executor=session.executor)
        changed: Answer = replace(result, locres=LOCRES, flags=FLAGS)  # type: ignore[type-var]
        return changed


def levels_for_search(maps: HalfMaps, options: RunOptions) -> int:
    """Return how many pyramid levels looking for a mask and checking a symmetry need."""
    shape = maps.half1.shape
    levels = 1 if maps.mask is not None else search_level(shape) + 1
    return levels if options.point_group == ("C1",) else max(levels, _check_level(shape) + 1)


def bring_unit(
    session: Session,
    maps: HalfMaps,
    mask: MaskResult,
    first: Sequence[Source],
    second: Sequence[Source] | None,
) -> Unit:
    """Check the symmetry that the options name and find the voxels to solve.

    Parameters
    ----------
    mask
        Where answers are wanted.
    first, second
        Pyramids of the half maps, as many levels as `levels_for_search` says; `second` is None for
        a single map.

    Raises
    ------
    InputError
        The maps do not obey the symmetry; the message says by how much.
    """
    if session.options.point_group == ("C1",):
        return Unit(source=mask.source, occupancy=mask.occupancy, mask=mask)
    grid = maps.half1.grid
    setting, centre, found = _checked(session, grid, mask, first, second)
    settings = {
        "setting": setting,
        "shape": list(grid.shape),
        "spacing_angstrom": list(grid.voxel_size_angstrom),
        "centre_vox": list(centre),
    }
    plan = _plan(session, grid.shape, UNIT_BYTES_PER_VOXEL)
    job = TileJob(
        name="symmetry unit",
        plan=plan,
        function=unit_tile,
        inputs={"mask": mask.source, "occupancy": mask.occupancy},
        outputs={
            UNIT: OutputSpec(fill_value=0.0),
            UNIT_OCCUPANCY: OutputSpec(divisor=OCCUPANCY_DIVISOR, fill_value=0.0),
        },
        parameters={**settings, "margin_angstrom": MARGIN_VOX * max(grid.voxel_size_angstrom)},
        bytes_per_voxel=UNIT_BYTES_PER_VOXEL,
    )
    table = run_job(job, run=session.run, executor=session.executor)
    solved, inside = int(table.sum("solved")), int(table.sum("inside"))
    logger.info("%s: %d voxels are solved for the %d in the mask", setting, solved, inside)
    facts = {
        **settings,
        "order": len(operators(setting)),
        "agreement": list(found.per_turn),
        "agreement_finest_angstrom": found.finest_angstrom,
        "voxels_solved": solved,
    }
    return Unit(
        source=output(session.run, UNIT),
        occupancy=FewCells.of(session.run.store, UNIT_OCCUPANCY),
        mask=mask,
        settings=settings,
        facts={"symmetry": facts},
    )


def _plan(session: Session, shape: tuple[int, int, int], bytes_per_voxel: float) -> TilePlan:
    return plan_tiles(
        shape,
        halo=(0, 0, 0),
        bytes_per_voxel=bytes_per_voxel,
        memory_bytes=session.executor.memory_bytes,
        workers=session.executor.workers,
        tile=session.options.tile_vox,
        multiple=OCCUPANCY_DIVISOR,
        run=session.run,
    )


def _check_level(shape: tuple[int, int, int]) -> int:
    level = 0
    while -(-max(shape) // 2**level) > CHECK_EDGE_VOX:
        level += 1
    return level


def _checked(
    session: Session,
    grid: Grid,
    mask: MaskResult,
    first: Sequence[Source],
    second: Sequence[Source] | None,
) -> tuple[str, Float3, Agreement]:
    """Return the setting and the centre that the maps obey best, and how well.

    Axes meet in voxel n / 2, the middle of most programs; where that does not fit, the middle of
    the box is tried.
    """
    level = _check_level(grid.shape)
    step = 2**level
    every = (slice(None),) * 3
    halves = [
        None if source is None else np.asarray(source[level].read(every), np.float32)
        for source in (first, second)
    ]
    inside = np.asarray(mask.source.read((slice(None, None, step),) * 3)) > 0
    dz, dy, dx = (step * d for d in grid.voxel_size_angstrom)

    def tried(setting: str, centre: Float3) -> Agreement:
        z, y, x = (c / step for c in centre)
        found = agreement(
            halves[0],  # type: ignore[arg-type]
            halves[1],
            inside,
            list(generators(setting)),
            voxel_size_angstrom=(dz, dy, dx),
            centre_vox=(z, y, x),
        )
        if found is None:
            raise InputError(
                "the half maps agree at no resolution that shows a symmetry; leave out --symmetry"
            )
        return found

    z, y, x = (float(n // 2) for n in grid.shape)
    middle = ((grid.shape[0] - 1) / 2, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2)
    wanted = session.options.point_group
    candidates = [(tried(name, (z, y, x)), name, (z, y, x)) for name in wanted]
    if max(entry[0].worst for entry in candidates) < DOUBTFUL and middle != (z, y, x):
        candidates += [(tried(name, middle), name, middle) for name in wanted]
    best, setting, centre = max(candidates, key=lambda entry: entry[0].worst)
    said = f"{best.worst:.0%} of what they share down to {best.finest_angstrom:.1f} A"
    if best.worst < REFUSED:
        others = settings_of(setting[0]) if setting[0] in "TI" and len(wanted) == 1 else ()
        fitting = [
            name
            for name in others
            if name not in wanted and tried(name, (z, y, x)).worst >= DOUBTFUL
        ]
        remedy = f"they obey {fitting[0]}" if fitting else "leave out --symmetry, or turn the maps"
        raise InputError(f"the maps do not obey {setting}: its copies agree in {said}; {remedy}")
    if best.worst < DOUBTFUL:
        session.warn(f"the maps obey {setting} only roughly: its copies agree in {said}")
    logger.info("the maps obey %s: its copies agree in %s", setting, said)
    return setting, centre, best
