"""What solving one asymmetric unit saves: processor time of a method's own passes.

Usage: python benchmarks/symmetry.py HALF1 HALF2 MASK --symmetry I2 [--only NAME ...] [--step 3]

Reading, the global FSC and writing maps are the same with a symmetry and without, and are left out;
what a symmetry adds (its check, finding the unit, copying it) is told by itself. One process, one
thread; seconds and u (see common.py).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import table, unit_seconds

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.kernels.directional_maps import MAPS
from distres.methods.blocres import BlocresParameters, run_blocres
from distres.methods.bring import bring_mask
from distres.methods.deepres import DeepResParameters, run_deepres
from distres.methods.deepres_run import model_for, stored_rms
from distres.methods.localfsc import run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters, levels_wanted
from distres.methods.monodir import run_monodir
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monores import run_monores
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_plan import levels_wanted as monores_levels
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.resmap import run_resmap
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.session import Session, open_half_maps
from distres.methods.spheres import SphereParameters, run_spheres
from distres.methods.symmetry import Unit, bring_unit, levels_for_search

NAMES = ("localfsc", "blocres", "relion", "resmap", "monores", "monodir", "deepres")


class Bench:
    """Half maps in a run directory, and the methods to time on them."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        options = RunOptions(mask=str(args.mask), symmetry=args.symmetry)
        self.args, self.folder, self.executor = args, folder, Executor()
        self.maps = open_half_maps(str(args.half1), str(args.half2), options)
        self.grid = self.maps.half1.grid
        levels = max(
            levels_for_search(self.maps, options),
            levels_wanted(self.grid, LocalFscParameters()),
            monores_levels(self.grid, MonoResParameters()),
        )
        self.session = Session(
            run=Run.open(folder / "inputs"), executor=self.executor, options=options
        )
        self.first, self.second = (
            ingest(volume, self.session.run, name, self.executor, levels)
            for name, volume in (("half1", self.maps.half1), ("half2", self.maps.half2))
        )
        self.mask = bring_mask(self.session, self.maps, self.first, self.second)

    def unit(self) -> Unit:
        """Check the symmetry and find the unit."""
        return bring_unit(self.session, self.maps, self.mask, self.first, self.second)

    def solve(self, name: str, run: Run, solved: Any) -> Any:
        """Run the passes of a method on a mask, or on a unit."""
        common = (self.grid, run, self.executor)
        where = {"mask": solved.source, "occupancy": solved.occupancy}
        voxel = max(self.grid.voxel_size_angstrom)
        halves = (self.first[0], self.second[0])
        if name == "localfsc":
            return run_localfsc(self.first, self.second, *common, **where)
        if name == "blocres":
            boxes = BlocresParameters(box_vox=21, step_vox=self.args.step)
            return run_blocres(*halves, *common, boxes, **where)
        if name == "relion":
            spheres = SphereParameters(
                sampling_angstrom=10 * voxel,
                radius_angstrom=10 * voxel,
                edge_angstrom=5 * voxel,
            )
            return run_spheres(*halves, *common, spheres, **where)
        if name == "resmap":
            sources = dict(zip(("half1", "half2"), halves, strict=True))
            whole = (self.mask.source, self.mask.occupancy)
            return run_resmap(
                sources,
                *whole,
                *common,
                ResmapParameters(),
                unit=solved.source,
                unit_occupancy=solved.occupancy,
            )
        if name == "deepres":
            network = DeepResParameters(model="A")
            return run_deepres(
                self.first[0],
                solved.source,
                solved.occupancy,
                *common,
                network,
                model_for(self.grid, network),
                rms=stored_rms(self.first[0]),
            )
        inputs = MonoResInputs(
            half1=self.first,
            half2=self.second,
            grid=self.grid,
            mask=self.mask.source,
            occupancy=self.mask.occupancy,
            unit=solved.source,
            unit_occupancy=solved.occupancy,
            point_group=solved.settings if isinstance(solved, Unit) else None,
        )
        if name == "monodir":
            return run_monodir(inputs, run, self.executor, MonoDirParameters())
        return run_monores(inputs, run, self.executor, MonoResParameters())

    def copy(self, name: str, run: Run, unit: Unit, result: Any) -> Any:
        """Run the pass that copies what a method left of a unit."""
        self.session.run = run
        if name == "monodir":
            maps = {key: result.arrays[key] for key in MAPS}
            return unit.copied(self.session, maps, result.arrays["flags"], plain=MAPS)
        if name == "deepres":
            maps = {"locres": result.locres, "uncertainty": result.uncertainty}
            return unit.copied(self.session, maps, result.flags, plain=("uncertainty",))
        return unit.expanded(self.session, result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("half1", "half2", "mask"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--symmetry", required=True)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--step", type=int, default=3, help="of boxes, in voxels")
    args = parser.parse_args()
    torch.set_num_threads(1)
    u = unit_seconds()
    with tempfile.TemporaryDirectory(prefix="distres-symmetry-") as place:
        bench = Bench(args, Path(place))
        unit, seconds = timed(bench.unit)
        print(f"u = {u:.4f} s; {unit.facts['symmetry']}\n")
        rows = [("check and unit", "", cell(seconds, u), "")]
        for name in args.only:
            spent = []
            for kind, solved in (("whole", bench.mask), ("unit", unit)):
                run = Run.open(Path(place) / f"{name}_{kind}")
                result, seconds = timed(lambda n=name, r=run, s=solved: bench.solve(n, r, s))
                spent.append(seconds)
            _, copying = timed(lambda n=name, w=run, r=result: bench.copy(n, w, unit, r))
            gain = f"{spent[0] / spent[1]:.1f}"
            rows.append((name, cell(spent[0], u), cell(spent[1], u), gain))
            rows.append((f"copying {name}", "", cell(copying, u), ""))
            print(rows[-2:], flush=True)
        print()
        print(table(rows, ("passes", "whole: s (u)", "one unit: s (u)", "times less")))


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = function()
    return result, time.process_time() - started


def cell(seconds: float, unit: float) -> str:
    return f"{seconds:.2f} ({seconds / unit:.1f})"


if __name__ == "__main__":
    main()
