"""Run a network that looks at windows of 13^3 voxels over a block, where it is asked to.

A network takes (n, 1, z, y, x) and gives (n, 2, z - 12, y - 12, x - 12): the value at the middle of
every window, and its uncertainty. A fully convolutional one shares its work between neighbouring
windows, so it runs over pieces of the block; far apart, single windows cost less. Both give the
same numbers but for rounding.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from distres.errors import UsageError
from distres.kernels.deepres import HALO_VOX, WINDOW_VOX, DeepResConfig, window_norm
from distres.kernels.masks import bounds

logger = logging.getLogger(__name__)

# A piece is not cut smaller than this, whatever the memory.
SMALLEST_PIECE_VOX = 4
# Of the widest layer: its input, its output, and what a convolution library takes beside them.
_LAYERS_HELD = 4
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Bool = npt.NDArray[np.bool_]


class WindowNetwork(Protocol):
    """What can be run over a block."""

    def __call__(self, block: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 to (n, 2, z - 12, y - 12, x - 12)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How a network is to be run.

    Attributes
    ----------
    window_operations
        Multiply-adds for one window alone.
    dense_operations
        Multiply-adds for one voxel of a large block; equal to `window_operations` when windows
        share nothing.
    bytes_per_voxel
        Memory for one voxel of a piece, or of a batch of windows.
    """

    window_operations: float
    dense_operations: float
    bytes_per_voxel: float

    @classmethod
    def of(cls, config: DeepResConfig) -> "Workload":
        """Count what a network of ours costs: in a lone window its layers shrink one by one."""
        edge, inputs, operations = WINDOW_VOX, 1, 0
        for width, kernel, dilation in zip(
            config.widths, config.kernels, config.dilations, strict=True
        ):
            edge -= (kernel - 1) * dilation
            operations += inputs * width * kernel**3 * edge**3
            inputs = width
        operations += inputs * config.head + 2 * config.head
        return cls(
            window_operations=float(operations),
            dense_operations=float(config.operations_per_voxel),
            bytes_per_voxel=4.0 * _LAYERS_HELD * max(*config.widths, config.head // 2),
        )

    @property
    def shared(self) -> bool:
        """Whether neighbouring windows share work."""
        return self.dense_operations < self.window_operations

    def windows_pay(self, every: int) -> bool:
        """Tell whether windows `every` voxels apart cost less than all of the block."""
        return not self.shared or self.window_operations < self.dense_operations * every**3


def choose_precision(
    requested: str, device: str, capability: tuple[int, int] | None = None
) -> torch.dtype:
    """Choose the number format of a network's convolutions.

    Half precision keeps 11 bits, bfloat16 8; both run on tensor cores. What needs more, the norms
    of the windows, stays in single precision.

    Parameters
    ----------
    requested
        ``auto`` takes fp16 on NVIDIA GPUs that have tensor cores (compute capability 7.0, Volta,
        or later) and fp32 everywhere else.
    device
        ``cpu`` or ``cuda``.
    capability
        Compute capability of the GPU.

    Raises
    ------
    UsageError
        The name is unknown, or the device has no such arithmetic.
    """
    if requested not in PRECISIONS:
        raise UsageError(f"precision '{requested}' is unknown; use {', '.join(PRECISIONS)}")
    have = capability or (0, 0)
    if requested == "auto":
        return torch.float16 if device == "cuda" and have >= (7, 0) else torch.float32
    if requested == "fp16" and device != "cuda":
        raise UsageError("half precision needs a GPU; on the CPU use --precision fp32 or bf16")
    if requested == "bf16" and device == "cuda" and have < (8, 0):
        raise UsageError(
            f"bfloat16 needs a GPU of compute capability 8.0 or more, this one has {have[0]}."
            f"{have[1]}; use --precision fp16"
        )
    return _TYPES[requested]


def predict_nodes(
    network: WindowNetwork,
    block: torch.Tensor,
    needed: Bool,
    *,
    workload: Workload,
    every: int = 1,
    floor: float = 0.0,
    budget_bytes: float = 2.5e8,
    precision: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Predict at nodes of a block.

    Parameters
    ----------
    network
        On the block's device.
    block
        (z, y, x) float32 on the network's grid: the nodes' box and `HALO_VOX` voxels around it.
    needed
        (nz, ny, nx): which nodes matter; there are ``(z - 13) // every + 1`` along an axis.
    workload
        What the network costs.
    every
        Voxels from node to node.
    floor
        Windows whose rms is not above this hold nothing to look at, and get NaN.
    budget_bytes
        Memory for activations.
    precision
        Of the convolutions, see `choose_precision`.

    Returns
    -------
    (2, nz, ny, nx) float32: value and uncertainty, NaN where not needed or where nothing is.
    """
    seen = window_rms(block)[::every, ::every, ::every] > floor
    known = needed & seen.cpu().numpy()
    found = torch.full((2, *known.shape), torch.nan, device=block.device)
    if known.any():
        with torch.inference_mode(), _arithmetic(block.device, precision):
            if workload.windows_pay(every):
                _by_windows(network, block, known, found, workload, every, budget_bytes)
            else:
                _by_pieces(network, block, known, found, workload, every, budget_bytes)
    found[:, torch.from_numpy(~known).to(block.device)] = torch.nan
    return found


def window_rms(block: torch.Tensor) -> torch.Tensor:
    """Return the rms of every window of 13^3 voxels: (z - 12, y - 12, x - 12) float32."""
    rms: torch.Tensor = window_norm(block[None, None])[0, 0] / WINDOW_VOX**1.5
    return rms


def _arithmetic(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


def _by_windows(
    network: WindowNetwork,
    block: torch.Tensor,
    known: Bool,
    found: torch.Tensor,
    workload: Workload,
    every: int,
    budget_bytes: float,
) -> None:
    windows = block.unfold(0, WINDOW_VOX, every).unfold(1, WINDOW_VOX, every)
    windows = windows.unfold(2, WINDOW_VOX, every)
    places = torch.from_numpy(np.argwhere(known)).to(block.device)
    batch = max(int(budget_bytes / (workload.bytes_per_voxel * WINDOW_VOX**3)), 1)
    first = 0
    while first < len(places):
        z, y, x = places[first : first + batch].T
        try:
            values = network(windows[z, y, x][:, None])
        except torch.cuda.OutOfMemoryError:
            batch = _smaller(batch)
            continue
        found[:, z, y, x] = values.reshape(len(z), 2).T.float()
        first += batch


def _smaller(batch: int) -> int:
    """Try again with half of it; the GPU may be shared."""
    if batch == 1:
        raise UsageError(
            "the GPU has too little free memory for a single window; use --device cpu"
        ) from None
    torch.cuda.empty_cache()
    logger.info("the GPU's memory is full: batches of %d", batch // 2)
    return batch // 2


def _by_pieces(
    network: WindowNetwork,
    block: torch.Tensor,
    known: Bool,
    found: torch.Tensor,
    workload: Workload,
    every: int,
    budget_bytes: float,
) -> None:
    edge = max(
        int((budget_bytes / workload.bytes_per_voxel) ** (1 / 3)) - 2 * HALO_VOX,
        SMALLEST_PIECE_VOX,
    )
    waiting = list(pieces(known, max(edge // every, 1)))
    while waiting:
        piece = waiting.pop()
        wide = tuple(slice(s.start * every, (s.stop - 1) * every + WINDOW_VOX) for s in piece)
        try:
            values = network(block[wide][None, None])
        except torch.cuda.OutOfMemoryError:
            size = prod(s.stop - s.start for s in piece)
            _smaller(size)
            waiting += _halves(piece)
            continue
        found[(slice(None), *piece)] = values[0, :, ::every, ::every, ::every].float()


def pieces(known: Bool, edge: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut the true voxels into boxes of at most `edge` voxels, each as small as it can be."""
    counts = [-(-n // edge) for n in known.shape]
    for index in np.ndindex(*counts):
        first = [i * edge for i in index]
        part = known[tuple(slice(f, f + edge) for f in first)]
        if not part.any():
            continue
        z, y, x = (slice(f + s.start, f + s.stop) for f, s in zip(first, bounds(part), strict=True))
        yield z, y, x


def _halves(piece: tuple[slice, slice, slice]) -> list[tuple[slice, slice, slice]]:
    """Cut a box in two across its longest edge."""
    lengths = [s.stop - s.start for s in piece]
    axis = int(np.argmax(lengths))
    middle = piece[axis].start + lengths[axis] // 2
    low, high = list(piece), list(piece)
    low[axis] = slice(piece[axis].start, middle)
    high[axis] = slice(middle, piece[axis].stop)
    return [(low[0], low[1], low[2]), (high[0], high[1], high[2])]
