"""The global FSC on real worker processes."""

import mrcfile
import numpy as np
import pytest

from distres.engine.cluster import open_executor
from distres.engine.run import Run
from distres.io.volume import open_volume
from distres.methods.fsc import FscParameters, compute_fsc

pytestmark = pytest.mark.cluster


def test_slabs_on_workers_give_the_bits_of_this_process(tmp_path):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(20, 24, 22))
    for name in ("half1", "half2"):
        with mrcfile.new(tmp_path / f"{name}.mrc") as file:
            file.set_data((common + rng.normal(size=common.shape)).astype(np.float32))
            file.voxel_size = 1.5
    with mrcfile.new(tmp_path / "mask.mrc") as file:
        mask = np.zeros(common.shape, np.float32)
        mask[6:-6, 6:-6, 6:-6] = 1
        file.set_data(mask)
        file.voxel_size = 1.5
    curves = []
    for spec, workers in (("none", None), ("local", 2)):
        with (
            open_executor(spec, workers=workers, memory_bytes=10**9) as executor,
            Run.open(tmp_path / spec) as run,
        ):
            volumes = [open_volume(tmp_path / f"{name}.mrc") for name in ("half1", "half2", "mask")]
            result = compute_fsc(
                *volumes, FscParameters(), run, executor, at_once=False, tile_vox=6
            )
            curves.append(result.curves)
    assert len(curves[0]) == 4
    for name, curve in curves[0].items():
        np.testing.assert_array_equal(curves[1][name], curve)
