"""Every real map through info, convert and export, with its place preserved."""

import numpy as np
import pytest

from distres.engine.cluster import Executor
from distres.io.mrc_volume import MrcVolume, read_header
from distres.methods.convert import convert
from distres.methods.export import export_array
from distres.methods.info import describe
from distres.methods.results import find_result

ALL = (slice(None),) * 3
HERE = Executor(memory_bytes=4 << 30)
MAPS = (
    *("aspire_70S_65.mrc.gz", "emd_11007_crop.map.gz", "emd_1461_crop.mrc.gz"),
    *("emd_1461_vp6_96.mrc.gz", "emd_1703.map.gz", "emd_1703_msk.map.gz"),
    *("emd_1703_msk_1.map.gz", "emd_1832.map.gz", "emd_21457_seg.mrc.gz"),
    *("emd_21457_seg_nstart.mrc.gz", "emd_21457_seg_orig0.mrc.gz", "emd_2566_crop.mrc.gz"),
    *("emd_3488.mrc.gz", "emd_3488_contour_mask.mrc.gz", "emd_5625.map.gz"),
    *("emd_6272_crop.mrc.gz", "ngl_betaGal.mrc.gz", "ngl_localResolution.mrc.gz"),
)
GIVEN = {"aspire_70S_65.mrc.gz": 4.0, "emd_1703_msk.map.gz": 6.0, "emd_1703_msk_1.map.gz": 6.0,
         "ngl_localResolution.mrc.gz": 3.54}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_a_real_map_keeps_its_voxels_and_its_place(shared, tmp_path, name):
    path = shared / "data" / "maps" / name
    pixel_size = GIVEN.get(name)
    said = describe(str(path))
    volume = MrcVolume.open(path, pixel_size_angstrom=pixel_size)
    assert said["usable"] is (pixel_size in (None, 3.54))
    assert said["size_vox"] == list(reversed(volume.shape))
    statistics = convert(volume, tmp_path / "a.zarr", HERE)
    found = find_result(str(tmp_path / "a.zarr"))
    export_array(found.source, found.grid, found.header, tmp_path / "out.mrc")
    before, after = read_header(path)[0], read_header(tmp_path / "out.mrc")[0]
    for field in ("nstart", "origin", "angles_degrees"):
        assert getattr(after, field) == getattr(before, field)
    if pixel_size is None:
        assert after.cell_angstrom == before.cell_angstrom
        assert after.sampling == before.sampling
    else:
        np.testing.assert_allclose(after.voxel_size_angstrom, (pixel_size,) * 3, rtol=1e-6)
    written = MrcVolume.open(tmp_path / "out.mrc")
    np.testing.assert_array_equal(written.read(ALL), volume.read(ALL))
    # Header statistics are float32.
    np.testing.assert_allclose(after.statistics[2:], (statistics.mean, statistics.rms), rtol=1e-6)
