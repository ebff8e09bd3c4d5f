"""The passes of an oversharpening scan: resolution of the halves, scan, spectra, sharpened map."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distres.engine.jobs import OutputSpec, Source, TileFunction, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.engine.sources import HalfDifference, Layer, Mean
from distres.engine.tables import Table
from distres.errors import InputError
from distres.io.grid import Grid
from distres.kernels.sharpen import Edge
from distres.methods.deepres import DeepResParameters, bytes_for, halo_for, tile_parameters
from distres.methods.deepres_model import Model
from distres.methods.deepres_run import stored_rms
from distres.methods.localfsc import run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.mask import MaskResult
from distres.methods.monores import run_monores
from distres.methods.monores_passes import MonoResInputs
from distres.methods.monores_plan import MonoResParameters
from distres.methods.nearby import tiles_near
from distres.methods.oversharp import (
    OversharpParameters,
    as_table,
    choose_b,
    guinier_b,
    is_finer,
    percentiles,
    verdict,
)
from distres.methods.oversharp_tiles import SHARPENED, scan_tile, sharpen_tile, spectrum_tile
from distres.methods.session import Session

# A transform of the block, its squared frequencies, a product and a sharpened copy.
_SHARPEN_BYTES = 48.0
_SPECTRUM_BYTES = 48.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The passes of one scan and what they share."""

    session: Session
    grid: Grid
    model: Model
    source: Source
    mask: MaskResult
    edge: Edge
    parameters: OversharpParameters
    network: DeepResParameters

    def halves(self, first: Sequence[Source], second: Sequence[Source]) -> str:
        """Compute the local resolution of the halves, unsharpened; return where it lies."""
        run, executor = self.session.run, self.session.executor
        tile = self.session.options.tile_vox
        if self.parameters.snr == "monores":
            given = MonoResInputs(
                half1=first,
                half2=second,
                grid=self.grid,
                mask=self.mask.source,
                occupancy=self.mask.occupancy,
            )
            found = run_monores(
                given, run, executor, MonoResParameters(device=self.network.device), tile=tile
            )
            return found.locres
        fsc = run_localfsc(
            first,
            second,
            self.grid,
            run,
            executor,
            LocalFscParameters(thresholds=(self.parameters.threshold,), device=self.network.device),
            mask=self.mask.source,
            occupancy=self.mask.occupancy,
            tile=tile,
        )
        return fsc.locres

    @property
    def every(self) -> int:
        """Voxels of the network's grid between nodes, for about as many as are asked for."""
        volume = float(self.mask.statistics["volume_angstrom3"])
        spacing = (volume / self.parameters.samples) ** (1 / 3)
        return max(int(spacing / self.model.voxel_size_angstrom), 1)

    def scan(self, name: str, locres: str, values: Sequence[float]) -> Table:
        """Count ``halves`` (bins,), and DeepRes under each of some B-factors, (values, bins)."""
        reach = halo_for(self.grid, self.model, self.every)
        return self._go(
            name,
            scan_tile,
            {
                "map": self.source,
                "mask": self.mask.source,
                "locres": Layer(source=output(self.session.run, locres), index=0),
            },
            halo=[h + e for h, e in zip(reach, self._edge_halo, strict=True)],
            bytes_per_voxel=bytes_for(self.grid, self.model) + _SHARPEN_BYTES,
            settings=tile_parameters(
                self.grid,
                self.model,
                self.network,
                rms=stored_rms(self.source),
                every=self.every,
            )
            | {"b_square_angstrom": list(values), "edge": asdict(self.edge)},
        )

    def sharpen(self, b_square_angstrom: float) -> None:
        """Store the map under one B-factor."""
        self._go(
            "oversharp map",
            sharpen_tile,
            {"map": self.source},
            halo=self._edge_halo,
            bytes_per_voxel=_SHARPEN_BYTES,
            settings={
                "b_square_angstrom": b_square_angstrom,
                "edge": asdict(self.edge),
                "spacing_angstrom": list(self.grid.voxel_size_angstrom),
                "device": self.network.device,
            },
            outputs={SHARPENED: OutputSpec(fill_value=0.0)},
            everywhere=True,
        )

    def spectra(self, first: Source, second: Source) -> Table:
        """Sum the power of map, mean and half difference by shell, inside the mask."""
        return self._go(
            "oversharp spectra",
            spectrum_tile,
            {
                "map": self.source,
                "mean": Mean(first=first, second=second),
                "difference": HalfDifference(first=first, second=second),
                "mask": self.mask.source,
            },
            halo=(0, 0, 0),
            bytes_per_voxel=_SPECTRUM_BYTES,
            settings={
                "voxel_size_angstrom": list(self.grid.voxel_size_angstrom),
                "nyquist_per_angstrom": self._nyquist,
            },
        )

    def result(self, first: Source, second: Source, locres: str) -> dict[str, Any]:
        """Scan, choose, look again under the B-factor chosen, and store the map under it."""
        percent, scan = self.parameters.percent, self.parameters.scan
        table = self.scan("oversharp scan", locres, scan)
        counts, halves = table.sum("counts"), table.sum("halves")
        if not halves.sum():
            raise InputError("the halves have no resolution anywhere in the mask; check the mask")
        curve = as_table(scan, counts, percent)
        wanted = percentiles(halves[None], percent)[0]
        choice = choose_b(np.array(scan), np.array(curve["deepres_angstrom"]), wanted)
        chosen = self.scan("oversharp check", locres, (choice.b_square_angstrom,)).sum("counts")
        guinier = self._guinier(first, second, wanted)
        self.sharpen(choice.b_square_angstrom)
        as_is = curve["deepres_angstrom"][scan.index(0.0)]
        return {
            "verdict": verdict(
                deepres_angstrom=as_is, halves_angstrom=wanted, choice=choice, guinier=guinier
            ),
            "over_sharpened": is_finer(as_is, wanted),
            "b_square_angstrom": choice.b_square_angstrom,
            "reached": choice.reached,
            "b_guinier_square_angstrom": guinier,
            "percent": percent,
            "halves_angstrom": wanted,
            "deepres_angstrom": as_is,
            "deepres_at_chosen_b_angstrom": percentiles(chosen, percent)[0],
            "places": int(halves.sum()),
            "nodes_every_model_voxels": self.every,
            "spectrum_ends_at_angstrom": 1 / self.edge.stop_per_angstrom,
            "model": self.model.as_json(),
            "curve": curve,
        }

    def _guinier(self, first: Source, second: Source, high_angstrom: float) -> float | None:
        table = self.spectra(first, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = [
                table.sum(f"power_{name}") / table.sum("coefficients")
                for name in ("map", "mean", "difference")
            ]
        return guinier_b(power[0], power[1], power[2], self._nyquist, high_angstrom)

    @property
    def _nyquist(self) -> float:
        return 0.5 / max(self.grid.voxel_size_angstrom)

    @property
    def _edge_halo(self) -> list[int]:
        return [self.edge.halo(step) for step in self.grid.voxel_size_angstrom]

    def _go(
        self,
        name: str,
        function: TileFunction,
        inputs: Mapping[str, Source],
        *,
        halo: Sequence[int],
        bytes_per_voxel: float,
        settings: Mapping[str, Any],
        outputs: Mapping[str, OutputSpec] | None = None,
        everywhere: bool = False,
    ) -> Table:
        """Run one pass over the tiles that hold mask, or over all."""
        session = self.session
        z, y, x = halo
        plan = plan_tiles(
            self.grid.shape,
            halo=(z, y, x),
            bytes_per_voxel=bytes_per_voxel,
            memory_bytes=session.executor.memory_bytes,
            workers=session.executor.workers,
            tile=session.options.tile_vox,
            run=session.run,
        )
        job = TileJob(
            name=name,
            plan=plan,
            function=function,
            inputs=inputs,
            outputs=outputs or {},
            parameters=settings,
            tiles=None if everywhere else tiles_near(self.mask.occupancy, plan),
            bytes_per_voxel=bytes_per_voxel,
        )
        return run_job(job, run=session.run, executor=session.executor)
