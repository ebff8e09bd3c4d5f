"""Make a blob phantom of any size: half maps, mask, labels, true resolution."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.io.grid import Grid, Region, Shape3
from distres.kernels.blob import BlobSpec
from distres.kernels.phantom import BlobTruth, blob_region
from distres.methods.phantom_files import (
    PhantomFiles,
    noise_from,
    planned_files,
    row_blocks,
    threshold_names,
    write_truth,
    write_volumes,
)

logger = logging.getLogger(__name__)

_CURVE_POINTS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobParameters:
    """What a blob phantom looks like.

    Attributes
    ----------
    shape
        Voxels (z, y, x).
    voxel_size_angstrom
        Edge of a voxel.
    b_factors
        One B for each quadrant, in square angstrom.
    noise_sigma
        Standard deviation of the noise of a half (of its white part when coloured).
    noise_colour
        Excess power at frequency 0 relative to the white part, and its B; None for white noise.
    seed
        Which atoms, lumps and noise.
    thresholds
        FSC thresholds of the truth maps.
    """

    shape: Shape3 = (128, 128, 128)
    voxel_size_angstrom: float = 1.0
    b_factors: tuple[float, float, float, float] = (40.0, 120.0, 300.0, 700.0)
    noise_sigma: float = 0.2442
    noise_colour: tuple[float, float] | None = None
    seed: int = 0
    thresholds: tuple[float, ...] = (0.5, 0.143)

    def spec(self) -> BlobSpec:
        """Return the phantom the kernel computes."""
        return BlobSpec(
            shape=self.shape,
            seed=self.seed,
            voxel_size_angstrom=self.voxel_size_angstrom,
            b_factors=self.b_factors,
            noise=noise_from(self.noise_sigma, self.noise_colour),
        )


def write_blob(
    parameters: BlobParameters, directory: Path, *, stem: str = "blob", overwrite: bool = False
) -> PhantomFiles:
    """Write a blob phantom to a folder, holding a few blocks of it in memory at a time.

    Raises
    ------
    UsageError
        The parameters describe no phantom.
    OutputExistsError
        Files are there and `overwrite` is false.
    """
    spec = parameters.spec()
    truth = BlobTruth(spec=spec)
    roles = threshold_names(parameters.thresholds)
    volumes, truth_path = planned_files(
        directory, stem, ("half1", "half2", "mask", "labels", *roles.values()), overwrite=overwrite
    )
    # Index 0 stands for voxels outside the ball.
    tables = {
        role: np.array([0.0, *(truth.resolution_angstrom(q, t) for q in (1, 2, 3, 4))], np.float32)
        for t, role in roles.items()
    }
    grid = Grid(shape=spec.shape, voxel_size_angstrom=(spec.voxel_size_angstrom,) * 3)
    logger.info("blob phantom of %d x %d x %d voxels in %s", *reversed(spec.shape), directory)
    write_volumes(volumes, grid, _parts(spec, tables), label="phantom blob")
    content = truth.as_json(parameters.thresholds) | {"curves": curves(truth)}
    return PhantomFiles(
        directory=directory,
        volumes=volumes,
        truth_path=truth_path,
        truth=write_truth(truth_path, content, volumes),
    )


def _parts(
    spec: BlobSpec, tables: dict[str, npt.NDArray[np.float32]]
) -> Iterator[tuple[Region, dict[str, npt.NDArray[Any]]]]:
    for region in row_blocks(spec.shape):
        part = blob_region(spec, region)
        yield (
            region,
            {
                "half1": part.half1,
                "half2": part.half2,
                "mask": part.mask,
                "labels": part.labels,
                **{role: table[part.quadrants] for role, table in tables.items()},
            },
        )


def curves(truth: BlobTruth) -> dict[str, Any]:
    """Return the true FSC of every quadrant at evenly spaced frequencies."""
    frequency = np.linspace(0, 0.5 / truth.spec.voxel_size_angstrom, _CURVE_POINTS + 1)[1:]
    return {
        "frequency_per_angstrom": frequency.tolist(),
        "fsc": {str(q): truth.fsc(q, frequency).tolist() for q in (1, 2, 3, 4)},
    }
