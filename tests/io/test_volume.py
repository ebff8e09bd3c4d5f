import numpy as np
import pytest
import xarray as xr

from distres.errors import InputError, UsageError
from distres.io.volume import ArrayVolume, Grid, open_volume

ALL = (slice(None),) * 3


def labelled(values, step=2.0, start=10.0, dims=("z", "y", "x")):
    coords = {d: start + step * np.arange(n) for d, n in zip(dims, values.shape, strict=True)}
    return xr.DataArray(values, dims=dims, coords=coords, name="density")


def test_a_dataarray_brings_its_place_and_any_order_of_dimensions(ramp):
    volume = open_volume(labelled(ramp).transpose("x", "z", "y"))
    assert volume.grid.voxel_size_angstrom == (2.0, 2.0, 2.0)
    assert volume.grid.origin_angstrom == (10.0, 10.0, 10.0)
    assert volume.path == "density"
    np.testing.assert_array_equal(volume.read(ALL), ramp)
    np.testing.assert_array_equal(np.concatenate([v for _, v in volume.slabs(2)]), ramp)


def test_a_plain_array_needs_a_pixel_size(ramp):
    with pytest.raises(UsageError, match="voxel size"):
        open_volume(ramp)
    assert open_volume(ramp, 1.3).grid.voxel_size_angstrom == (1.3, 1.3, 1.3)


def test_uneven_or_falling_coordinates_are_refused(ramp):
    data = labelled(ramp)
    with pytest.raises(InputError, match="equal steps"):
        open_volume(data.assign_coords(z=[0.0, 1.0, 2.0, 3.0, 5.0]))
    with pytest.raises(InputError, match="equal steps"):
        open_volume(data.isel(x=slice(None, None, -1)))
    with pytest.raises(InputError, match="dimensions"):
        open_volume(data.rename(z="t"))
    with pytest.raises(InputError, match="no x coordinate"):
        open_volume(data.drop_vars("x"))


def test_identity_of_an_array_is_its_content(ramp):
    one, same, other = (open_volume(values, 1.0 + 1e-9) for values in (ramp, ramp.copy(), ramp + 1))
    assert one.identity() == same.identity() != other.identity()


def test_what_is_no_volume_is_refused(tmp_path, ramp):
    with pytest.raises(InputError, match="complex64"):
        open_volume(ramp.astype(np.complex64), 1.5)
    with pytest.raises(InputError, match="three axes"):
        open_volume(ramp[0], 1.5)
    with pytest.raises(UsageError, match="not a volume"):
        open_volume(3)
    with pytest.raises(InputError, match="folder"):
        open_volume(tmp_path)
    with pytest.raises(InputError, match="only OME-Zarr"):
        open_volume("https://example.org/map.mrc")
    with pytest.raises(UsageError, match="cannot be right"):
        open_volume(ramp, -1.0)
    with pytest.raises(UsageError, match="its grid says"):
        ArrayVolume(array=ramp, grid=Grid(shape=(1, 2, 3), voxel_size_angstrom=(1, 1, 1)))


def test_a_volume_passes_through(make_mrc, ramp):
    volume = open_volume(make_mrc(ramp))
    assert open_volume(volume) is volume
