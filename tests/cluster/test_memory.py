"""The memory a worker is given is the memory it uses at most."""

import sys
from math import prod

import cloudpickle
import numpy as np
import pytest
import zarr

from distres.engine.cluster import open_executor
from distres.engine.jobs import OutputSpec, TileJob, TileResult, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import run_job

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

MEMORY_BYTES = 700_000_000
# Block, spectrum, filtered block and the transform's own copy, float32: five times four bytes.
BYTES_PER_VOXEL = 20.0


def low_pass(inputs, parameters):
    """Filter a block in the Fourier domain: what every method's tiles do."""
    import scipy.fft
    import torch

    block = inputs.block("map")
    # Memory that is never touched is never taken: voxels must differ.
    block += np.arange(block.shape[-1], dtype=np.float32) % 7
    spectrum = scipy.fft.rfftn(block)
    spectrum[:, :, 10:] = 0
    smooth = scipy.fft.irfftn(spectrum, s=block.shape)[inputs.tile.crop]
    return TileResult(arrays={"smooth": smooth}, row={"threads": torch.get_num_threads()})


def test_workers_stay_within_memory_while_the_volume_is_eight_times_larger(tmp_path):
    edge = 1120
    assert 4 * edge**3 >= 8 * MEMORY_BYTES
    # No chunk is stored: reading gives the fill value, and the test needs no disk.
    store = str(tmp_path / "in.zarr")
    zarr.create_array(store, name="map", shape=(edge,) * 3, chunks=(64,) * 3, dtype="float32")
    with open_executor("local", workers=2, memory_bytes=MEMORY_BYTES) as executor:
        plan = plan_tiles(
            (edge,) * 3,
            halo=(16,) * 3,
            bytes_per_voxel=BYTES_PER_VOXEL,
            memory_bytes=executor.memory_bytes,
            workers=executor.workers,
        )
        job = TileJob(
            name="low_pass",
            plan=plan,
            function=low_pass,
            inputs={"map": ZarrSource.of(store, "map")},
            outputs={"smooth": OutputSpec()},
            # A few tiles of the many: each takes as much as any other.
            tiles=tuple(range(0, len(plan), len(plan) // 10)),
            bytes_per_voxel=BYTES_PER_VOXEL,
        )
        table = run_job(job, run=Run.open(tmp_path / "run"), executor=executor)
    peaks = table.stats.peak_memory_bytes
    assert len(peaks) == 2, "a worker died and was replaced"
    assert max(peaks.values()) <= MEMORY_BYTES
    # The budget is used, not merely kept: at least the block and its spectrum were there.
    assert max(peaks.values()) > 8 * prod(plan.read_shape)
