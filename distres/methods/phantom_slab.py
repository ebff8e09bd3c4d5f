"""Make even and odd tomograms of a slab of particles, with the truth for every voxel."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.io.grid import Grid, Region
from distres.kernels.slab import (
    SlabSpec,
    Templates,
    ice_slice,
    kept_fraction,
    place_particles,
    slab_rows,
)
from distres.methods.phantom_files import (
    PhantomFiles,
    planned_files,
    threshold_names,
    write_truth,
    write_volumes,
)
from distres.methods.phantom_particle import SlabParameters, SlabTruth, make_templates

logger = logging.getLogger(__name__)

DoubleArray = npt.NDArray[np.float64]

_ROWS = 32  # the noise's cubes
_CURVE_POINTS = 128


def write_slab(
    parameters: SlabParameters, directory: Path, *, stem: str = "slab", overwrite: bool = False
) -> PhantomFiles:
    """Write even and odd tomograms of a slab, a few rows of it in memory at a time.

    Raises
    ------
    InputError
        The structure cannot be read.
    UsageError
        The parameters describe no slab, or the particle does not fit into it.
    OutputExistsError
        Files are there and `overwrite` is false.
    """
    roles = threshold_names(parameters.thresholds)
    names = ("even", "odd", "mask", "labels", "noise_sd", *roles.values())
    volumes, truth_path = planned_files(directory, stem, names, overwrite=overwrite)
    parameters.spec(0.0)  # refuses what is impossible before anything is computed
    templates, truth = make_templates(parameters)
    spec = parameters.spec(float(np.sqrt(truth.curve.variance / parameters.snr)))
    places = place_particles(spec, templates)
    logger.info("slab of %d x %d x %d voxels, %d particles", *reversed(spec.shape), len(places))
    largest = spec.noise_sigma * (1 + spec.depth_gain + spec.edge_gain)
    tables = {role: truth.resolution_table(largest, t) for t, role in roles.items()}
    voxel = parameters.voxel_size_angstrom
    grid = Grid(shape=spec.shape, voxel_size_angstrom=(voxel, voxel, voxel))
    write_volumes(volumes, grid, _parts(spec, templates, places, tables), label="phantom slab")
    content = _describe(parameters, spec, truth, places, tables)
    return PhantomFiles(
        directory=directory,
        volumes=volumes,
        truth_path=truth_path,
        truth=write_truth(truth_path, content, volumes),
    )


def _parts(
    spec: SlabSpec,
    templates: Templates,
    places: npt.NDArray[np.intp],
    tables: Mapping[str, tuple[DoubleArray, DoubleArray]],
) -> Iterator[tuple[Region, dict[str, npt.NDArray[Any]]]]:
    fraction = kept_fraction(spec)
    for first in range(0, spec.shape[1], _ROWS):
        rows = slice(first, min(first + _ROWS, spec.shape[1]))
        part = slab_rows(spec, templates, places, rows)
        particle = part.labels == 2
        # Noise power among measured frequencies: what the wedge removed is not there to disturb.
        there = part.noise_sd[particle] / np.sqrt(fraction)
        maps = {}
        for role, (strengths, resolutions) in tables.items():
            maps[role] = np.zeros(part.labels.shape, np.float32)
            maps[role][particle] = np.interp(there, strengths, resolutions)
        yield (
            (slice(0, spec.shape[0]), rows, slice(0, spec.shape[2])),
            {
                "even": part.even,
                "odd": part.odd,
                "mask": part.labels > 0,
                "labels": part.labels,
                "noise_sd": part.noise_sd,
                **maps,
            },
        )


def _describe(
    parameters: SlabParameters,
    spec: SlabSpec,
    truth: SlabTruth,
    places: npt.NDArray[np.intp],
    tables: Mapping[str, tuple[DoubleArray, DoubleArray]],
) -> dict[str, Any]:
    """Return the truth of a slab phantom as JSON values."""
    ice = ice_slice(spec)
    frequency = np.linspace(0, 0.5 / truth.voxel_size_angstrom, _CURVE_POINTS + 1)[1:]
    return {
        "kind": "slab",
        "shape": list(spec.shape),
        "axes": "zyx",
        "seed": spec.seed,
        "voxel_size_angstrom": truth.voxel_size_angstrom,
        "structure": parameters.structure.name if parameters.structure else None,
        "tilt_axis": "y",
        "tilt_range_degrees": list(spec.tilt_range_degrees),
        "measured_fraction": kept_fraction(spec),
        "ice_sections": [ice.start, ice.stop],
        "noise": {
            "sigma": spec.noise_sigma,
            "depth_gain": spec.depth_gain,
            "edge_gain": spec.edge_gain,
        },
        "particle_volume_vox": truth.curve.volume_vox,
        "particles_zyx_template": places.tolist(),
        "signal_power": {
            "frequency_per_angstrom": frequency.tolist(),
            "power": truth.curve.at(frequency).tolist(),
        },
        "resolution_angstrom_of_noise_sd": {
            role: {"noise_sd": strengths.tolist(), "resolution_angstrom": values.tolist()}
            for role, (strengths, values) in tables.items()
        },
    }
