"""Symmetric particles: one asymmetric unit is solved, and all others are given its answer.

A method gets the unit in the place of its mask, and knows no more of symmetry than that. Tiles are
planned around the unit, and those without any of it are not read. Nothing else changes: every
voxel solved has the surroundings, and the answer, that it has without symmetry.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan
from distres.kernels.symmetry import operators
from distres.methods.mask import MaskResult, search_level
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
from distres.methods.nearby import FewCells, tiles_near
from distres.methods.options import RunOptions
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.session import HalfMaps, Session
from distres.methods.symmetry_setting import check_level, find_setting
from distres.methods.symmetry_tiles import (
    FLAGS,
    UNIT,
    UNIT_OCCUPANCY,
    copied_path,
    expand_tile,
    unit_tile,
)

logger = logging.getLogger(__name__)

# Around the unit so many voxels are solved as well: its mates fall between voxels.
MARGIN_VOX = 2.0
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
    mask_above
        Mask values above this are inside, as the method has it.
    settings
        Point group on the grid as JSON values; None without symmetry.
    facts
        What the record keeps.
    """

    source: ZarrSource
    occupancy: ZarrSource
    mask: MaskResult
    mask_above: float = 0.0
    settings: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def expanded(self, session: Session, result: Answer) -> Answer:
        """Give every voxel of the mask the answer of its mate; return the result with new paths.

        Parameters
        ----------
        result
            What a method left in the run's store for the unit.
        """
        if self.settings is None:
            return result
        copied = self.copied(session, {"locres": result.locres}, result.flags)
        changed: Answer = replace(result, **copied)  # type: ignore[type-var]
        return changed

    def copied(
        self,
        session: Session,
        maps: Mapping[str, str],
        flags: str,
        *,
        plain: Collection[str] = (),
    ) -> dict[str, str]:
        """Give every voxel of the mask what its mate has in several maps.

        Parameters
        ----------
        maps
            Paths of what a method left in the run's store for the unit, by name; the first is the
            one that the flags tell of.
        flags
            Path of the flags.
        plain
            Names of maps that hold no resolutions: they are interpolated as they are, not 1 / R.

        Returns
        -------
        dict
            Paths by name, and that of the flags as ``flags``; as they were without symmetry.
        """
        if self.settings is None:
            return {**maps, "flags": flags}
        sources = {name: output(session.run, path) for name, path in maps.items()}
        bits = output(session.run, flags)
        z, y, x = self.settings["shape"]
        bytes_per_voxel = EXPAND_BYTES_PER_VOXEL + 4.0 * len(maps)
        plan = _plan(session, (z, y, x), bytes_per_voxel)
        outputs = {
            copied_path(name): OutputSpec(lead=source.shape[:-3])
            for name, source in sources.items()
        }
        job = TileJob(
            name="symmetry expansion",
            plan=plan,
            function=expand_tile,
            inputs={**sources, "flags": bits, "mask": self.mask.source},
            outputs={
                **outputs,
                FLAGS: OutputSpec(dtype="uint8", lead=bits.shape[:-3], fill_value=FLAG_OUTSIDE),
            },
            parameters={
                **self.settings,
                "mask_above": self.mask_above,
                "inverse": {name: name not in plain for name in maps},
            },
            tiles=tiles_near(self.mask.occupancy, plan),
            bytes_per_voxel=bytes_per_voxel,
        )
        run_job(job, run=session.run, executor=session.executor)
        return {**{name: copied_path(name) for name in maps}, "flags": FLAGS}


def levels_for_search(maps: HalfMaps, options: RunOptions) -> int:
    """Return how many pyramid levels looking for a mask and checking a symmetry need."""
    shape = maps.half1.shape
    levels = 1 if maps.mask is not None else search_level(shape) + 1
    return levels if options.point_group == ("C1",) else max(levels, check_level(shape) + 1)


def bring_unit(
    session: Session,
    maps: HalfMaps,
    mask: MaskResult,
    first: Sequence[Source],
    second: Sequence[Source] | None,
    *,
    mask_above: float = 0.0,
) -> Unit:
    """Check the symmetry that the options name and find the voxels to solve.

    Parameters
    ----------
    mask
        Where answers are wanted.
    first, second
        Pyramids of the half maps, as many levels as `levels_for_search` says; `second` is None for
        a single map.
    mask_above
        Mask values above this are inside, as the method has it.

    Raises
    ------
    InputError
        The maps do not obey the symmetry; the message says by how much.
    """
    if session.options.point_group == ("C1",):
        return Unit(source=mask.source, occupancy=mask.occupancy, mask=mask)
    grid = maps.half1.grid
    setting, centre, found = find_setting(session, grid, mask.source, first, second)
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
        parameters={
            **settings,
            "margin_angstrom": MARGIN_VOX * max(grid.voxel_size_angstrom),
            "mask_above": mask_above,
        },
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
        mask_above=mask_above,
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
