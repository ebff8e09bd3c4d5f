"""The passes of an oversharpening scan: the scan itself, spectra, sharpened map."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileFunction, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.sources import HalfDifference, Mean
from distres.io.grid import Grid
from distres.kernels.sharpen import Edge
from distres.methods.deepres_model import Model
from distres.methods.deepres_plan import DeepResParameters, bytes_for, halo_for, tile_parameters
from distres.methods.nearby import tiles_near
from distres.methods.oversharp import OversharpParameters
from distres.methods.oversharp_tiles import SHARPENED, scan_tile, sharpen_tile, spectrum_tile

# A transform of the block, its squared frequencies, a product and a sharpened copy.
_SHARPEN_BYTES = 48.0
_SPECTRUM_BYTES = 48.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The passes of one scan and what they share.

    Attributes
    ----------
    grid, model
        Of the map, and what reads it.
    source, rms
        The map, and its rms about the mean.
    mask, occupancy
        On `grid`, and its largest value in cells; without the latter every tile is computed.
    mask_volume_angstrom3
        Volume of the mask: how far apart the places are that are looked at.
    edge
        Where the sharpened spectrum ends.
    parameters, network
        Choices of the scan and of DeepRes.
    executor, run, tile
        Where to compute, the run if there is one yet, and the edge asked for.
    """

    grid: Grid
    model: Model
    source: Source
    rms: float
    mask: Source
    occupancy: Source | None
    mask_volume_angstrom3: float
    edge: Edge
    parameters: OversharpParameters
    network: DeepResParameters
    executor: Executor
    run: Run | None = None
    tile: int | None = None

    @property
    def every(self) -> int:
        """Voxels of the network's grid between nodes, for about as many as are asked for."""
        spacing = (self.mask_volume_angstrom3 / self.parameters.samples) ** (1 / 3)
        return max(int(spacing / self.model.voxel_size_angstrom), 1)

    def scan(self, name: str, locres: Source, values: Sequence[float]) -> TileJob:
        """Count ``halves`` (bins,), and DeepRes under each of some B-factors, (values, bins)."""
        reach = halo_for(self.grid, self.model, self.every)
        settings = tile_parameters(
            self.grid, self.model, self.network, rms=self.rms, every=self.every
        )
        return self._job(
            name,
            scan_tile,
            {"map": self.source, "mask": self.mask, "locres": locres},
            halo=[h + e for h, e in zip(reach, self._edge_halo, strict=True)],
            bytes_per_voxel=bytes_for(self.grid, self.model) + _SHARPEN_BYTES,
            settings=settings | {"b_square_angstrom": list(values), "edge": asdict(self.edge)},
        )

    def sharpen(self, b_square_angstrom: float) -> TileJob:
        """Store the map under one B-factor."""
        return self._job(
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

    def spectra(self, first: Source, second: Source) -> TileJob:
        """Sum the power of map, mean and half difference by shell, inside the mask."""
        return self._job(
            "oversharp spectra",
            spectrum_tile,
            {
                "map": self.source,
                "mean": Mean(first=first, second=second),
                "difference": HalfDifference(first=first, second=second),
                "mask": self.mask,
            },
            halo=(0, 0, 0),
            bytes_per_voxel=_SPECTRUM_BYTES,
            settings={
                "voxel_size_angstrom": list(self.grid.voxel_size_angstrom),
                "nyquist_per_angstrom": self.nyquist_per_angstrom,
            },
        )

    @property
    def nyquist_per_angstrom(self) -> float:
        """Highest frequency along the axis with the largest voxels."""
        return 0.5 / max(self.grid.voxel_size_angstrom)

    @property
    def _edge_halo(self) -> list[int]:
        return [self.edge.halo(step) for step in self.grid.voxel_size_angstrom]

    def _job(
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
    ) -> TileJob:
        """Plan one pass over the tiles that hold mask, or over all."""
        z, y, x = halo
        plan = plan_tiles(
            self.grid.shape,
            halo=(z, y, x),
            bytes_per_voxel=bytes_per_voxel,
            memory_bytes=self.executor.memory_bytes,
            workers=self.executor.workers,
            tile=self.tile,
            run=self.run,
        )
        return TileJob(
            name=name,
            plan=plan,
            function=function,
            inputs=inputs,
            outputs=outputs or {},
            parameters=settings,
            tiles=None if everywhere else tiles_near(self.occupancy, plan),
            bytes_per_voxel=bytes_per_voxel,
        )
