"""What decides an answer of DeepRes, and what a tile of it takes: settings, halo, memory."""

from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np

from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.deepres import HALO_VOX
from distres.kernels.predict import PRECISIONS, choose_precision
from distres.kernels.rescale import reach_vox
from distres.methods.deepres_model import MODELS, Model, choose_name
from distres.methods.deepres_place import neighbourhood
from distres.methods.deepres_tiles import ACTIVATION_BYTES_PER_VOXEL

# Blocks of the map, its copy, answers and flags; then the copy on the network's grid, its square
# and its averages.
_SOURCE_BYTES = 40.0
_GRID_BYTES = 28.0
# Three fields of answers, as they are, weighted, filtered along one axis, and summed.
_AVERAGE_BYTES = 60.0
# Windows this much weaker than the map as a whole hold nothing: a mask was multiplied into it.
SILENT = 1e-3
# Chosen on the structures of the validation; a local FSC has windows of 1.75.
SMOOTH_RESOLUTIONS = 2.0
MOST_RESOLUTIONS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepResParameters:
    """What decides the answer of DeepRes.

    Attributes
    ----------
    model
        ``auto``, ``A`` (voxels of 1.0 A, 2.5 to 13 A) or ``B`` (0.5 A, 1.5 to 6 A).
    weights
        File of weights instead of the shipped ones.
    finest_angstrom, coarsest_angstrom
        Resolutions expected; they choose the model, and change no answer.
    stride
        Voxels of the map from one prediction to the next, for previews; values between are
        interpolated.
    smooth
        Answers are averaged with their neighbours in the mask under a window of this many
        resolutions, see `distres.kernels.answers`; 0 for no averaging. Previews and the paper's
        network are not averaged.
    precision
        Number format of convolutions, see `distres.kernels.predict.choose_precision`.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    model: str = "auto"
    weights: str | None = None
    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    stride: int = 1
    smooth: float = SMOOTH_RESOLUTIONS
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UsageError(f"there is no model '{self.model}'; use {', '.join(MODELS)}")
        if self.stride < 1:
            raise UsageError(f"the stride is 1 voxel or more, not {self.stride}")
        if not 0 <= self.smooth <= MOST_RESOLUTIONS:
            raise UsageError(
                f"answers are averaged over 0 (not at all) to {MOST_RESOLUTIONS:g} resolutions, "
                f"not {self.smooth:g}"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision '{self.precision}' is unknown; use {', '.join(PRECISIONS)}"
            )
        if self.device == "cpu":
            choose_precision(self.precision, "cpu")

    def model_name(self, grid: Grid) -> str:
        """Return the model for a map, see `distres.methods.deepres_model.choose_name`."""
        return choose_name(grid, self.finest_angstrom, self.coarsest_angstrom, self.model)


def node_step(grid: Grid, model: Model, stride: int) -> int:
    """Return how many voxels of the network's grid lie between predictions.

    A stride that saves nothing (windows alone cost more than the whole block) is not taken.
    """
    every = max(round(stride * min(grid.voxel_size_angstrom) / model.voxel_size_angstrom), 1)
    return every if model.workload.windows_pay(every) else 1


def tile_parameters(
    grid: Grid, model: Model, parameters: DeepResParameters, *, rms: float, every: int
) -> dict[str, Any]:
    """Return what tile functions that predict are told."""
    return {
        "model": model.as_json(),
        "spacing_angstrom": list(grid.voxel_size_angstrom),
        "every": every,
        "floor": SILENT * rms,
        "precision": parameters.precision,
        "device": parameters.device,
    }


def averaging(parameters: DeepResParameters, model: Model, every: int) -> float:
    """Return the width over which answers are averaged, in resolutions; 0 where they are not."""
    return 0.0 if model.published or every > 1 else parameters.smooth


def halo_for(grid: Grid, model: Model, every: int, smooth: float = 0.0) -> tuple[int, int, int]:
    """Return the voxels that a tile reads around its core.

    Half a window, a node, the resampling, and the nodes whose answers are averaged.

    Parameters
    ----------
    every
        Voxels of the network's grid from node to node.
    smooth
        Width of the averages in resolutions.
    """
    target, seen = model.voxel_size_angstrom, HALO_VOX + every
    if smooth:
        around = neighbourhood(smooth, every, target, model.range_angstrom)
        seen += (around.reach_nodes + 1) * every
    z, y, x = (
        ceil(seen * target / step) + reach_vox(step, target) + bool(smooth)
        for step in grid.voxel_size_angstrom
    )
    return z, y, x


def bytes_for(grid: Grid, model: Model, smooth: float = 0.0) -> float:
    """Return the memory that a voxel of a tile's block takes, with its part of the activations."""
    copies = prod(step / model.voxel_size_angstrom for step in grid.voxel_size_angstrom)
    each = _GRID_BYTES + (_AVERAGE_BYTES if smooth else 0.0)
    return float(np.ceil(_SOURCE_BYTES + each * copies + ACTIVATION_BYTES_PER_VOXEL))
