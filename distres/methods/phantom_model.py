"""Make half maps of an atomic model, with the true resolution of every chain."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from distres.errors import UsageError
from distres.io.grid import Float3, Grid, Region
from distres.io.structures import Structure, read_structure
from distres.kernels.chains import TERRITORY_ANGSTROM, territories
from distres.kernels.density import Scatterers, density_map
from distres.kernels.noise import noise_region
from distres.methods.phantom_chains import (
    ChainTruth,
    ModelParameters,
    chain_truths,
    check_chains,
    with_base_b,
)
from distres.methods.phantom_files import (
    PhantomFiles,
    planned_files,
    row_blocks,
    threshold_names,
    write_truth,
    write_volumes,
)

logger = logging.getLogger(__name__)

_CURVE_POINTS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPhantom:
    """A model phantom before its noise.

    Attributes
    ----------
    grid
        Its origin puts the map onto the structure.
    density
        (z, y, x) float32.
    labels
        (z, y, x) uint16: number of the nearest chain within 3 A of an atom, else 0.
    chains
        Truth of every chain.
    structure
        Atoms in the file's frame.
    """

    grid: Grid
    density: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint16]
    chains: tuple[ChainTruth, ...]
    structure: Structure


def make_model(parameters: ModelParameters) -> ModelPhantom:
    """Compute density, labels and truth of a model phantom.

    Raises
    ------
    InputError
        The structure cannot be read.
    UsageError
        Chains, assembly or box do not fit the structure, or a chain cannot reach the resolution
        wanted at this noise.
    """
    structure = read_structure(
        parameters.structure, assembly=parameters.assembly, keep_waters=parameters.keep_waters
    )
    check_chains(structure, parameters)
    atoms = with_base_b(structure, parameters)
    grid = _grid(atoms, parameters)
    logger.info(
        "%s: %d atoms, %d chains, box of %d x %d x %d voxels",
        parameters.structure.name, len(atoms), len(structure.chains), *reversed(grid.shape),
    )  # fmt: skip
    chains = chain_truths(structure, atoms, parameters)
    extra = np.zeros(len(structure.chains) + 1)
    for chain in chains:
        extra[chain.label] = chain.extra_b
    numbers = structure.chain_of + 1
    blurred = replace(atoms, b_factors=atoms.b_factors + extra[numbers])
    placed = blurred.moved(np.eye(3), -np.array(grid.origin_angstrom))
    voxel = parameters.voxel_size_angstrom
    return ModelPhantom(
        grid=grid,
        density=density_map(placed, grid.shape, voxel, parameters.transfer),
        labels=territories(placed.positions_angstrom, numbers, grid.shape, voxel),
        chains=chains,
        structure=structure,
    )


def write_model(
    parameters: ModelParameters,
    directory: Path,
    *,
    stem: str | None = None,
    overwrite: bool = False,
) -> PhantomFiles:
    """Write the half maps of a model, its mask, labels and truth to a folder.

    Raises
    ------
    InputError, UsageError
        As `make_model`.
    OutputExistsError
        Files are there and `overwrite` is false.
    """
    stem = stem or parameters.structure.name.split(".")[0]
    roles = threshold_names(parameters.thresholds)
    names = ("half1", "half2", "mask", "labels", *roles.values())
    volumes, truth_path = planned_files(directory, stem, names, overwrite=overwrite)
    phantom = make_model(parameters)
    tables = {}
    for threshold, role in roles.items():
        tables[role] = np.zeros(len(phantom.structure.chains) + 1, np.float32)
        for chain in phantom.chains:
            tables[role][chain.label] = chain.resolution_angstrom(threshold)
    parts = _parts(phantom, tables, parameters)
    write_volumes(volumes, phantom.grid, parts, label="phantom model")
    truth = write_truth(truth_path, describe(phantom, parameters), volumes)
    return PhantomFiles(directory=directory, volumes=volumes, truth_path=truth_path, truth=truth)


def describe(phantom: ModelPhantom, parameters: ModelParameters) -> dict[str, Any]:
    """Return the truth of a model phantom as JSON values."""
    nyquist = 0.5 / parameters.voxel_size_angstrom
    frequency = np.linspace(0, nyquist, _CURVE_POINTS + 1)[1:]
    noise = phantom.chains[0].noise
    copies = phantom.structure.copy_of
    return {
        "kind": "model",
        "structure": parameters.structure.name,
        "assembly": parameters.assembly,
        "atoms": len(phantom.structure.atoms),
        "shape": list(phantom.grid.shape),
        "axes": "zyx",
        "origin_angstrom": list(phantom.grid.origin_angstrom),
        "seed": parameters.seed,
        "voxel_size_angstrom": parameters.voxel_size_angstrom,
        "resolution_angstrom": parameters.resolution_angstrom,
        "territory_angstrom": TERRITORY_ANGSTROM,
        "noise": {"sigma": noise.sigma, "excess": noise.excess, "b_factor": noise.b_factor},
        "chains": [
            {
                "label": chain.label,
                "name": chain.name,
                "copies": int(
                    np.unique(copies[phantom.structure.chain_of == chain.label - 1]).size
                ),
                "extra_b_factor": chain.extra_b,
                "resolution_angstrom": {
                    str(t): chain.resolution_angstrom(t) for t in parameters.thresholds
                },
            }
            for chain in phantom.chains
        ],
        "curves": {
            "frequency_per_angstrom": frequency.tolist(),
            "fsc": {chain.name: chain.fsc(frequency).tolist() for chain in phantom.chains},
        },
    }


def _grid(atoms: Scatterers, parameters: ModelParameters) -> Grid:
    """Choose the box, with the atoms in its middle."""
    voxel = parameters.voxel_size_angstrom
    low, high = atoms.positions_angstrom.min(axis=0), atoms.positions_angstrom.max(axis=0)
    extent = high - low
    shape = parameters.shape
    if shape is None:
        least = int(np.ceil((extent.max() + 2 * parameters.padding_angstrom) / voxel))
        edge = fft.next_fast_len(least, real=True)
        while edge % 2:
            edge = fft.next_fast_len(edge + 1, real=True)
        shape = (edge, edge, edge)
    # Blurred atoms must not come back on the other side of the box.
    needed = np.ceil((extent + 2 * TERRITORY_ANGSTROM) / voxel).astype(int)
    if np.any(needed > np.array(shape)):
        raise UsageError(
            f"the atoms need a box of {needed[2]},{needed[1]},{needed[0]} voxels (x,y,z) of "
            f"{voxel:g} angstrom, --shape gives {shape[2]},{shape[1]},{shape[0]}"
        )
    corner = (low + high) / 2 - np.array(shape) / 2 * voxel
    origin: Float3 = tuple(float(v) for v in np.round(corner, 3))  # type: ignore[assignment]
    return Grid(shape=shape, voxel_size_angstrom=(voxel,) * 3, origin_angstrom=origin)


def _parts(
    phantom: ModelPhantom,
    tables: Mapping[str, npt.NDArray[np.float32]],
    parameters: ModelParameters,
) -> Iterator[tuple[Region, dict[str, npt.NDArray[Any]]]]:
    noise = phantom.chains[0].noise
    for region in row_blocks(phantom.grid.shape):
        labels = phantom.labels[region]
        halves = (
            phantom.density[region]
            + noise_region(
                noise,
                region,
                seed=parameters.seed,
                stream=stream,
                voxel_size_angstrom=parameters.voxel_size_angstrom,
            )
            for stream in (1, 2)
        )
        yield (
            region,
            {
                "half1": next(halves),
                "half2": next(halves),
                "mask": labels > 0,
                "labels": labels,
                **{role: table[labels] for role, table in tables.items()},
            },
        )
