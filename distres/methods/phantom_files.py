"""Write the volumes and the truth of a phantom, block by block, all files in one pass."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import numpy.typing as npt

from distres import __version__
from distres.errors import OutputExistsError, UsageError
from distres.io.grid import Grid, Region, Shape3
from distres.io.mrc_write import Block, Statistics, write_mrc
from distres.kernels.noise import Noise

logger = logging.getLogger(__name__)

Parts = Iterable[tuple[Region, Mapping[str, npt.NDArray[Any]]]]

# Blocks are whole along x, so that files are written in long runs. With halos of 18 voxels blocks
# of 64 x 256 rows cost 1.8 times their volume at the widest blur.
_BLOCK_ROWS = (64, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomFiles:
    """What a phantom command wrote.

    Attributes
    ----------
    directory
        Folder of all files.
    volumes
        Paths by role: ``half1``, ``half2``, ``mask``, ``labels``, ``truth_0.5``, ...
    truth_path
        JSON file with the truth.
    truth
        Its content.
    """

    directory: Path
    volumes: dict[str, Path]
    truth_path: Path
    truth: dict[str, Any]


def row_blocks(shape: Shape3, rows: tuple[int, int] = _BLOCK_ROWS) -> Iterator[Region]:
    """Cut a volume into blocks that are whole along x."""
    for z in range(0, shape[0], rows[0]):
        for y in range(0, shape[1], rows[1]):
            yield (
                slice(z, min(z + rows[0], shape[0])),
                slice(y, min(y + rows[1], shape[1])),
                slice(0, shape[2]),
            )


def noise_from(sigma: float, colour: tuple[float, float] | None) -> Noise:
    """Return white noise, or coloured noise from (excess, B)."""
    if not sigma >= 0:
        raise UsageError(f"noise has a standard deviation of 0 or more, not {sigma}")
    if colour is None:
        return Noise(sigma=sigma)
    excess, b_factor = colour
    if not (excess >= 0 and b_factor >= 0):
        raise UsageError(f"coloured noise needs an excess and a B of 0 or more, not {colour}")
    return Noise(sigma=sigma, excess=excess, b_factor=b_factor)


def threshold_names(thresholds: Sequence[float]) -> dict[float, str]:
    """Return the role of the truth map of every threshold.

    Raises
    ------
    UsageError
        A threshold does not lie between 0 and 1.
    """
    for threshold in thresholds:
        if not 0 < threshold < 1:
            raise UsageError(f"an FSC threshold lies between 0 and 1, not at {threshold:g}")
    return {threshold: f"truth_{threshold:g}" for threshold in thresholds}


def planned_files(
    directory: Path, stem: str, roles: Sequence[str], *, overwrite: bool
) -> tuple[dict[str, Path], Path]:
    """Name all files of a phantom, and refuse before computing what would be replaced.

    Raises
    ------
    OutputExistsError
        A file is there and `overwrite` is false.
    """
    volumes = {role: directory / f"{stem}_{role}.mrc" for role in roles}
    truth = directory / f"{stem}_truth.json"
    for path in (*volumes.values(), truth):
        if path.exists() and not overwrite:
            raise OutputExistsError(
                f"{path} exists; give --overwrite to replace it, or another --output"
            )
    return volumes, truth


def write_truth(path: Path, truth: dict[str, Any], volumes: Mapping[str, Path]) -> dict[str, Any]:
    """Write the truth as JSON, with the names of the volumes it belongs to."""
    files = {role: volume.name for role, volume in volumes.items()}
    content = {"version": __version__, **truth, "files": files}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return content


def write_volumes(volumes: Mapping[str, Path], grid: Grid, parts: Parts, *, label: str) -> None:
    """Write several volumes whose blocks arrive together.

    One thread for each file takes its blocks from a queue of one, so that no more than a few
    blocks are in memory. A file appears only when it is whole.

    Parameters
    ----------
    volumes
        Path by role.
    grid
        Grid of all volumes.
    parts
        Regions, and for each the block of every role.
    label
        Text for the header.
    """
    for path in volumes.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    queues: dict[str, Queue[Block | None]] = {role: Queue(1) for role in volumes}
    with ThreadPoolExecutor(len(volumes)) as pool:
        written = {
            role: pool.submit(
                write_mrc, path, grid, None, _taken(queues[role]), label=label, overwrite=True
            )
            for role, path in volumes.items()
        }
        try:
            _hand_out(parts, queues, written, prod(grid.shape))
        finally:
            for role, queue in queues.items():
                _put(queue, None, written[role])
    for future in written.values():
        future.result()


def _hand_out(
    parts: Parts,
    queues: Mapping[str, "Queue[Block | None]"],
    written: Mapping[str, "Future[Statistics]"],
    voxels: int,
) -> None:
    done, said = 0, 0
    for region, arrays in parts:
        for role, queue in queues.items():
            block = np.ascontiguousarray(arrays[role], np.float32)
            if not _put(queue, (region, block), written[role]):
                return
        done += prod(s.stop - s.start for s in region)
        if 10 * done // voxels > said and done < voxels:
            said = 10 * done // voxels
            logger.info("phantom: %d %% written", 10 * said)


def _taken(queue: "Queue[Block | None]") -> Iterator[Block]:
    while (block := queue.get()) is not None:
        yield block


def _put(queue: "Queue[Block | None]", block: Block | None, written: "Future[Statistics]") -> bool:
    """Wait for room; give up, and make room, when the writer has ended."""
    while not written.done():
        with suppress(Full):
            queue.put(block, timeout=0.5)
            return True
    with suppress(Empty):
        queue.get_nowait()
    return False
