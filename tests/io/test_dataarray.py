import numpy as np
import pytest

from distres.io.dataarray import open_dataarray
from distres.io.mrc_volume import MrcVolume
from distres.io.volume import open_volume


def test_coordinates_are_in_angstrom_and_voxels_are_read_on_demand(make_mrc, ramp, monkeypatch):
    path = make_mrc(ramp, axes=(3, 1, 2), nstart=(2, 0, -1), voxel=(1.5, 1.5, 3.0))
    data = open_dataarray(path)
    assert data.dims == ("z", "y", "x")
    assert data.x.attrs["units"] == "angstrom"
    np.testing.assert_allclose(data.x, 3.0 + 1.5 * np.arange(7))
    np.testing.assert_allclose(data.z, -3.0 + 3.0 * np.arange(5))
    read = []
    real = MrcVolume.read

    def noted(self, region):
        read.append(region)
        return real(self, region)

    monkeypatch.setattr(MrcVolume, "read", noted)
    part = data.isel(z=2, y=slice(1, 3))
    assert read == []
    np.testing.assert_array_equal(part.values, ramp[2, 1:3])
    assert read == [(slice(2, 3), slice(1, 3), slice(0, 7))]


@pytest.mark.parametrize(
    "key",
    [
        (slice(None),) * 3,
        (-1, slice(None, None, -1), slice(1, 7, 3)),
        (slice(4, 0, -2), 0, slice(None)),
        (slice(2, 2), slice(None), 3),
        ([0, 3, 1], slice(None), [2, 2]),
    ],
)
def test_every_way_of_indexing_gives_what_numpy_gives(make_mrc, ramp, key):
    data = open_dataarray(make_mrc(ramp, mode=1))
    expected = ramp
    for axis, index in reversed(list(enumerate(key))):
        expected = (
            expected.take(index, axis)
            if not isinstance(index, slice)
            else (expected[(slice(None),) * axis + (index,)])
        )
    np.testing.assert_array_equal(data[key].values, expected)


def test_a_dataarray_opens_as_the_same_volume(make_mrc, ramp):
    volume = open_volume(make_mrc(ramp, nstart=(1, 2, 3)))
    again = open_volume(open_dataarray(volume))
    assert again.grid.shape == volume.grid.shape
    np.testing.assert_allclose(again.grid.origin_angstrom, volume.grid.origin_angstrom)
    np.testing.assert_allclose(again.grid.voxel_size_angstrom, volume.grid.voxel_size_angstrom)
    np.testing.assert_array_equal(again.read((slice(None),) * 3), ramp)
