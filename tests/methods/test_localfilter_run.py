"""A whole run of the local filter, from files to a file."""

import json

import mrcfile
import numpy as np
import pytest

from distres.errors import InputError
from distres.methods.localfilter import FilterParameters
from distres.methods.localfilter_run import compute_filter
from distres.methods.options import RunOptions


def write(path, values, voxel=1.5):
    with mrcfile.new(path) as mrc:
        mrc.set_data(values.astype(np.float32))
        mrc.voxel_size = voxel
        mrc.header.origin = (3.0, 4.5, 6.0)
    return str(path)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    resolution = rng.uniform(5.0, 9.0, (40, 41, 42))
    resolution[:10] = np.nan
    resolution[-5:] = 100.0
    density = write(tmp_path / "map.mrc", rng.standard_normal(resolution.shape))
    return density, write(tmp_path / "locres.mrc", resolution)


def test_a_map_comes_out_filtered_in_its_place(tmp_path, files):
    density, locres = files
    done = compute_filter(
        density, locres, FilterParameters(device="cpu"), RunOptions(output=tmp_path / "run")
    )
    before, after = mrcfile.open(density), mrcfile.open(done.path)
    assert after.data.shape == before.data.shape
    assert after.header.origin == before.header.origin
    assert after.voxel_size == before.voxel_size
    # A filter at 5 to 9 A on voxels of 1.5 A keeps between 1 and 8 % of white power.
    assert 0.1 < after.data.std() / before.data.std() < 0.3
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["filter"]["empty_values"] == [100.0]
    assert any("100" in warning for warning in record["warnings"])
    assert min(record["filter"]["filters_angstrom"]) == pytest.approx(5.0, rel=0.02)
    assert max(record["filter"]["filters_angstrom"]) == pytest.approx(9.0, rel=0.02)


def test_maps_on_different_grids_are_refused(tmp_path, files):
    other = write(tmp_path / "other.mrc", np.ones((40, 41, 40)))
    with pytest.raises(InputError):
        compute_filter(files[0], other, FilterParameters(), RunOptions(output=tmp_path / "run"))
