"""Passes of the global FSC: sum shells of the whole volume at once, or slab by slab."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileFunction, TileJob
from distres.engine.run import Run
from distres.engine.runner import Table, output, run_job
from distres.engine.tiles import Shape3, TilePlan
from distres.kernels.shells import Float, Shells, fsc_of_sums
from distres.methods import fsc_tiles
from distres.methods.fsc_memory import (
    COLUMN_BYTES_PER_COEFFICIENT,
    SLAB_BYTES_PER_VOXEL,
    WHOLE_BYTES_PER_VOXEL,
    column_size,
    thickness,
)
from distres.methods.fsc_survey import Survey
from distres.methods.fsc_tiles import HALVES


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellSums:
    """Shell sums (passes, 3, count + 1): unmasked, masked, then one pass per repeat."""

    sums: Float
    first_shell: int


def sum_shells(
    sources: Mapping[str, Source],
    shells: Shells,
    found: Survey,
    *,
    seed: int,
    repeats: int,
    randomise_from_angstrom: float | None,
    at_once: bool,
    run: Run,
    executor: Executor,
    tile_vox: int | None = None,
) -> ShellSums:
    """Sum the shells of all passes.

    Parameters
    ----------
    sources
        ``half1``, ``half2`` and perhaps ``mask``.
    at_once
        Hold the whole volume in one worker, or go slab by slab through the run's store. Both give
        the same sums to the rounding of a float32 transform.
    tile_vox
        Planes of a slab, and rows of a block of columns; None chooses by memory.
    """
    passes = _Passes(
        sources=sources,
        shells=shells,
        parameters={
            "shape": list(shells.shape),
            "voxel_size_angstrom": list(shells.voxel_size_angstrom),
            "mean": list(found.mean),
            "scale": [1.0 / deviation for deviation in found.deviation],
        },
        run=run,
        executor=executor,
        tile_vox=tile_vox,
    )
    chosen = {"seed": seed, "randomise_from_angstrom": randomise_from_angstrom}
    if at_once:
        return passes.whole({**chosen, "repeats": repeats})
    sums = [passes.transform()]
    first = fsc_tiles.randomise_from(fsc_of_sums(sums[0][0]), shells, randomise_from_angstrom)
    if "mask" in sources:
        sums.extend(passes.noise(first, seed, repeat) for repeat in range(repeats))
    passes.drop("fsc/plain", "fsc/masked")
    return ShellSums(sums=np.concatenate(sums), first_shell=first)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passes:
    """The jobs of one volume; what they share is said once."""

    sources: Mapping[str, Source]
    shells: Shells
    parameters: dict[str, Any]
    run: Run
    executor: Executor
    tile_vox: int | None = None

    def whole(self, chosen: dict[str, Any]) -> ShellSums:
        """One tile, one task."""
        shape = self.shells.shape
        job = TileJob(
            name="fsc-whole",
            plan=TilePlan.whole(shape),
            function=fsc_tiles.whole,
            inputs=self.sources,
            parameters={**self.parameters, **chosen},
            bytes_per_voxel=WHOLE_BYTES_PER_VOXEL,
        )
        table = run_job(job, run=self.run, executor=self.executor)
        return ShellSums(sums=table.sum("sums"), first_shell=int(table.sum("first_shell")))

    def transform(self) -> Float:
        """Transform by slabs, then by columns: sums (1 or 2, 3, count + 1)."""
        kinds = ["plain", "masked"] if "mask" in self.sources else ["plain"]
        pairs = [[f"fsc/{kind}/{half}" for half in HALVES] for kind in kinds]
        paths = [path for pair in pairs for path in pair]
        self._slabs("fsc-planes", fsc_tiles.planes, self.sources, paths, {})
        return self._columns("fsc-columns", pairs)

    def noise(self, first_shell: int, seed: int, repeat: int) -> Float:
        """Sum the shells of phase-randomised, masked halves: (1, 3, count + 1).

        The sums of a finished repeat are kept and its transforms dropped, so that the disk holds
        one repeat at a time and a resumed run goes on after it.
        """
        prefix = f"fsc/repeat{repeat}"
        kept = f"fsc/sums/seed{seed}_shell{first_shell}_repeat{repeat}"
        group = zarr.open_group(self.run.store, mode="a")
        if kept in group and group[kept].attrs.get("complete"):
            return np.asarray(zarr.open_array(self.run.store, path=kept, mode="r")[...])
        chosen = {"first_shell": first_shell, "seed": seed, "repeat": repeat, "prefix": prefix}
        turned = [f"{prefix}/turned/{half}" for half in HALVES]
        masked = [f"{prefix}/masked/{half}" for half in HALVES]
        plain = {half: output(self.run, f"fsc/plain/{half}") for half in HALVES}
        self._rows(f"fsc-turn-{repeat}", fsc_tiles.turn_phases, plain, turned, chosen)
        real: dict[str, Source] = {
            half: output(self.run, path) for half, path in zip(HALVES, turned, strict=True)
        }
        real["mask"] = self.sources["mask"]
        self._slabs(f"fsc-mask-{repeat}", fsc_tiles.mask_again, real, masked, {"prefix": prefix})
        sums = self._columns(f"fsc-columns-{repeat}", [masked])
        stored = group.create_array(kept, data=sums, overwrite=True)
        stored.attrs["complete"] = True  # after the data, so that a kill between cannot mislead
        self.drop(prefix)
        return sums

    def drop(self, *paths: str) -> None:
        """Delete intermediate transforms."""
        group = zarr.open_group(self.run.store, mode="a")
        for path in paths:
            if path in group:
                del group[path]

    def _slabs(
        self,
        name: str,
        function: TileFunction,
        inputs: Mapping[str, Source],
        paths: list[str],
        chosen: dict[str, Any],
    ) -> None:
        nz, ny, nxh = self.shells.half_shape
        layer = ny * self.shells.shape[2] * SLAB_BYTES_PER_VOXEL
        thick = thickness(nz, layer, self.executor, tile_vox=self.tile_vox)
        self._job(name, function, inputs, paths, chosen, (thick, ny, nxh))

    def _rows(
        self,
        name: str,
        function: TileFunction,
        inputs: Mapping[str, Source],
        paths: list[str],
        chosen: dict[str, Any],
    ) -> Table:
        shape = self.shells.half_shape
        rows, columns = column_size(shape, self.executor, tile_vox=self.tile_vox)
        return self._job(name, function, inputs, paths, chosen, (shape[0], rows, columns))

    def _columns(self, name: str, pairs: list[list[str]]) -> Float:
        inputs = {path: output(self.run, path) for pair in pairs for path in pair}
        table = self._rows(name, fsc_tiles.columns, inputs, [], {"pairs": pairs})
        sums: Float = table.sum("sums")
        return sums

    def _job(
        self,
        name: str,
        function: TileFunction,
        inputs: Mapping[str, Source],
        paths: list[str],
        chosen: dict[str, Any],
        core: Shape3,
    ) -> Table:
        job = TileJob(
            name=name,
            plan=TilePlan(shape=self.shells.half_shape, core=core, halo=(0, 0, 0)),
            function=function,
            inputs=inputs,
            outputs={path: OutputSpec(dtype="complex64", fill_value=0.0) for path in paths},
            parameters={**self.parameters, **chosen},
            bytes_per_voxel=COLUMN_BYTES_PER_COEFFICIENT,
        )
        return run_job(job, run=self.run, executor=self.executor)
