"""How the noise that a pass of MonoRes measured becomes the thresholds of a level's tests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import zarr

from distres.engine.runner import output, run_job
from distres.errors import InputError
from distres.kernels.monores import LevelTests
from distres.kernels.monores_noise import (
    CELL_VOX,
    FIELD_INDEPENDENT,
    INDEPENDENT_CUTOFF,
    field_bandwidth_cells,
)
from distres.kernels.noise_threshold import independent_values, sweep_threshold
from distres.kernels.sparse_tests import Places, fill_between, sparse_places, uneven_places
from distres.kernels.threshold_field import Axes, ThresholdField, Values, fit_threshold_field
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_passes import Passes, Thresholds
from distres.methods.monores_tiles import noise_path

SAMPLE_EDGE, SAMPLES = 32, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noise:
    """The threshold of one test: a number, or a field and its mean."""

    strength: float
    field: ThresholdField | None = None


def measure_thresholds(passes: Passes, tests: LevelTests) -> Thresholds:
    """Measure the noise of a level's tests: of some, and of all where it changes fast."""
    if not tests.frequencies:
        return Thresholds()
    frequencies, scale = tests.frequencies, noise_scale(passes.inputs, tests.level)
    places = sparse_places(frequencies)
    found = _measure(passes, tests, places, scale)
    missing = uneven_places(frequencies, places, [n.strength for n in found])
    if missing:
        known = dict(zip(places, found, strict=True))
        known |= zip(missing, _measure(passes, tests, missing, scale, "between"), strict=True)
        places = tuple(sorted(known))
        found = [known[place] for place in places]
    values = fill_between(frequencies, places, np.array([n.strength for n in found]))
    fields = [n.field for n in found if n.field is not None]
    if not fields:
        return Thresholds(values=tuple(values.tolist()))
    stack = fill_between(frequencies, places, np.stack([field.values for field in fields]))
    return _store(passes, tests, values.tolist(), stack, fields[0].nodes)


def _measure(
    passes: Passes, tests: LevelTests, places: Places, scale: float, part: str = ""
) -> list[_Noise]:
    """Measure the noise of some tests of a level."""
    some = replace(tests, frequencies=tuple(tests.frequencies[i] for i in places))
    table = run_job(passes.noise_job(some, scale, part), run=passes.run, executor=passes.executor)
    grid = passes.inputs.grid.coarser(2**tests.level)
    volumes = table.sum("voxels") * prod(grid.voxel_size_angstrom)
    local = passes.parameters.local_noise
    values = []
    for row, volume, frequency in zip(table.sum("counts"), volumes, some.frequencies, strict=True):
        independent = independent_values(float(volume), INDEPENDENT_CUTOFF * frequency)
        unit = 1.0 if local else scale
        if local:
            # An amplitude is judged by the field around it, which rests on fewer values.
            independent = min(independent, FIELD_INDEPENDENT)
        values.append(sweep_threshold(row, unit, passes.parameters.confidence, independent))
    if not local:
        return [_Noise(strength=value) for value in values]
    return _fields(passes, some, values, noise_path(tests.level, part))


def _fields(
    passes: Passes, tests: LevelTests, quantiles: Sequence[float], path: str
) -> list[_Noise]:
    """Fit smooth fields to the mean amplitudes of cells; the quantile scales them."""
    count = len(tests.frequencies)
    grid = passes.inputs.grid.coarser(2**tests.level)
    cells = np.asarray(output(passes.run, path).read((slice(None),) * 3), np.float64)
    fields = [
        fit_threshold_field(
            cells[i] * quantile,
            cells[count + i],
            grid.shape,
            (CELL_VOX,) * 3,
            field_bandwidth_cells(frequency * max(grid.voxel_size_angstrom)),
        )
        for i, (quantile, frequency) in enumerate(zip(quantiles, tests.frequencies, strict=True))
    ]
    return [_Noise(strength=float(field.values.mean()), field=field) for field in fields]


def _store(
    passes: Passes, tests: LevelTests, values: Sequence[float], stack: Values, nodes: Axes
) -> Thresholds:
    """Put the fields of a level's tests where tiles can read them."""
    path = f"monores/thresholds/{tests.level}"
    chunks = (len(stack), *(min(n, 64) for n in stack.shape[1:]))
    data = stack.astype(np.float32)
    zarr.create_array(passes.run.store, name=path, data=data, chunks=chunks, overwrite=True)
    return Thresholds(
        values=tuple(values),
        field=output(passes.run, path),
        nodes=tuple(axis.tolist() for axis in nodes),
    )


def noise_scale(inputs: MonoResInputs, level: int) -> float:
    """Return the strength of the noise on a level, from small cubes all over the volume."""
    shape = inputs.half1[level].shape[-3:]
    squares, count = 0.0, 0
    for index in np.ndindex(*(SAMPLES,) * 3):
        region = tuple(
            slice(first, first + min(SAMPLE_EDGE, n))
            for n, i in zip(shape, index, strict=True)
            for first in [max(0, (2 * i + 1) * n // (2 * SAMPLES) - SAMPLE_EDGE // 2)]
        )
        block = np.asarray(inputs.half1[level].read(region), dtype=np.float64)
        if inputs.half2 is not None:
            block = (block - np.asarray(inputs.half2[level].read(region), dtype=np.float64)) / 2
        squares += float(np.square(block - block.mean()).sum())
        count += block.size
    if squares == 0:
        raise InputError(
            "the half maps are equal all over the volume; give two independent half maps"
            if inputs.half2 is not None
            else "the map is constant; there is nothing to measure"
        )
    return float((squares / count) ** 0.5)
