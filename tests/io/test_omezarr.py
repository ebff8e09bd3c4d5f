import pickle

import numpy as np
import pytest
import zarr

from distres.errors import InputError, TrustWarning
from distres.io.grid import Grid
from distres.io.omezarr import OWN, OmeZarrVolume, describe, is_zarr
from distres.io.volume import open_volume

ALL = (slice(None),) * 3


def axes(unit="angstrom", names="zyx"):
    return [{"name": n, "type": "space"} | ({"unit": unit} if unit else {}) for n in names]


ANGSTROM = axes()


def write_image(
    path, arrays, *, ngff="0.4", scales=None, translation=None, axes=ANGSTROM, top=None
):
    """Write an image by hand, the way other programs do."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if ngff == "0.4" else 3)
    datasets = []
    for level, values in enumerate(arrays):
        group.create_array(str(level), data=values, chunks=tuple(min(4, n) for n in values.shape))
        steps = []
        if scales is not None:
            steps.append({"type": "scale", "scale": list(scales[level])})
        if translation is not None:
            steps.append({"type": "translation", "translation": list(translation)})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    image = {"axes": axes, "datasets": datasets, "version": ngff}
    if top:
        image["coordinateTransformations"] = top
    group.attrs.update(
        {"multiscales": [image]} if ngff == "0.4" else {"ome": {"multiscales": [image]}}
    )
    return str(path)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_images_of_both_versions_read_with_their_place(tmp_path, ramp, ngff):
    path = write_image(
        tmp_path / "a.zarr",
        [ramp.astype(np.int16), ramp[::2, ::2, ::2].astype(np.int16)],
        ngff=ngff,
        scales=[(2, 3, 4), (4, 6, 8)],
        translation=(10, 20, 30),
    )
    volume = open_volume(path)
    assert volume.grid.voxel_size_angstrom == (2, 3, 4)
    assert volume.grid.origin_angstrom == (10, 20, 30)
    read = volume.read((slice(1, 4), slice(None), slice(2, 3)))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, ramp[1:4, :, 2:3])
    coarse = open_volume(path, level=1)
    assert coarse.grid.voxel_size_angstrom == (4, 6, 8)
    np.testing.assert_array_equal(coarse.read(ALL), ramp[::2, ::2, ::2])
    by_path = open_volume(f"{path}/1")
    assert by_path.grid == coarse.grid
    np.testing.assert_array_equal(by_path.read(ALL), coarse.read(ALL))
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(np.concatenate([v for _, v in again.slabs(2)]), ramp)


@pytest.mark.parametrize(("unit", "factor"), [("angstrom", 1), ("nanometer", 10), (None, 1)])
def test_units_become_angstrom(tmp_path, ramp, unit, factor):
    path = write_image(tmp_path / "a.zarr", [ramp], scales=[(0.5, 0.5, 0.5)], axes=axes(unit))
    assert open_volume(path).grid.voxel_size_angstrom == (0.5 * factor,) * 3


def test_transformations_of_the_whole_image_come_on_top(tmp_path, ramp):
    top = [{"type": "scale", "scale": [2, 2, 2]}, {"type": "translation", "translation": [1, 1, 1]}]
    path = write_image(
        tmp_path / "a.zarr", [ramp], scales=[(3, 3, 3)], translation=(5, 0, 0), top=top
    )
    volume = open_volume(path)
    assert volume.grid.voxel_size_angstrom == (6, 6, 6)
    assert volume.grid.origin_angstrom == (11, 1, 1)


def test_a_pixel_size_replaces_the_scale_of_every_level(tmp_path, ramp):
    path = write_image(
        tmp_path / "a.zarr", [ramp, ramp[::2, ::2, ::2]], scales=[(1, 1, 1), (2, 2, 2)]
    )
    with pytest.warns(TrustWarning, match=r"exactly 1\.0"):
        open_volume(path)
    volume = OmeZarrVolume.open(path, pixel_size_angstrom=3.5)
    assert [level.grid.voxel_size_angstrom for level in volume.levels] == [(3.5,) * 3, (7.0,) * 3]
    no_scale = write_image(tmp_path / "b.zarr", [ramp])
    with pytest.raises(InputError, match="no scale"):
        open_volume(no_scale)
    assert open_volume(no_scale, 2.0).grid.voxel_size_angstrom == (2, 2, 2)


def test_channels_and_times_of_length_one_are_dropped_and_others_refused(tmp_path, ramp):
    five = axes(names="tczyx")
    one = write_image(tmp_path / "a.zarr", [ramp[None, None]], scales=[(1, 1, 2, 2, 2)], axes=five)
    np.testing.assert_array_equal(open_volume(one).read(ALL), ramp)
    two = write_image(
        tmp_path / "b.zarr", [np.stack([ramp, ramp])[None]], scales=[(1, 1, 2, 2, 2)], axes=five
    )
    with pytest.raises(InputError, match="three axes"):
        open_volume(two)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axes": axes(names="xyz")}, "axes x, y, z; a volume ends in z, y, x"),
        ({"axes": axes("parsec")}, "measured in parsec"),
        ({"scales": [(0, 0, 0)]}, "unusable scale"),
    ],
)
def test_images_that_cannot_be_used_say_why(tmp_path, ramp, settings, message):
    path = write_image(tmp_path / "a.zarr", [ramp], **{"scales": [(2, 2, 2)], **settings})
    with pytest.raises(InputError, match=message):
        open_volume(path)


def test_damaged_or_absent_stores_are_told_in_one_sentence(tmp_path, ramp):
    with pytest.raises(InputError, match="does not exist"):
        open_volume(tmp_path / "absent.zarr")
    path = write_image(tmp_path / "a.zarr", [ramp], scales=[(2, 2, 2)])
    (tmp_path / "a.zarr" / ".zattrs").write_text('{"multiscales": [{"axes": 3}]}')
    with pytest.raises(InputError, match="damaged OME-Zarr metadata") as caught:
        open_volume(path)
    assert "\n" not in str(caught.value)
    (tmp_path / "a.zarr" / ".zattrs").write_text("not json")
    with pytest.raises(InputError, match="cannot be opened"):
        open_volume(path)
    with pytest.raises(InputError, match="no level 4"):
        open_volume(write_image(tmp_path / "b.zarr", [ramp], scales=[(2, 2, 2)]), level=4)


def test_a_group_without_an_image_lists_its_arrays(tmp_path, ramp):
    zarr.open_group(str(tmp_path / "g.zarr"), mode="w").create_array("density", data=ramp)
    with pytest.raises(InputError, match=r"arrays in it: density"):
        open_volume(tmp_path / "g.zarr")
    with pytest.raises(InputError, match="without a voxel size"):
        open_volume(tmp_path / "g.zarr" / "density")
    volume = open_volume(tmp_path / "g.zarr" / "density", 2.5)
    np.testing.assert_array_equal(volume.read(ALL), ramp)


def test_our_own_arrays_know_their_place(tmp_path, make_mrc, ramp):
    source = open_volume(make_mrc(ramp, nstart=(1, 2, 3)))
    group = zarr.open_group(str(tmp_path / "run.zarr"), mode="w")
    array = group.create_array("result", data=ramp)
    array.attrs[OWN] = describe(source.grid, source.header)
    volume = open_volume(tmp_path / "run.zarr" / "result")
    assert volume.grid == source.grid
    assert volume.header == source.header


def test_images_open_through_fsspec(ramp):
    path = "memory://bucket/a.zarr"
    write_image(path, [ramp], scales=[(2, 2, 2)])
    volume = open_volume(path)
    assert volume.grid == Grid(shape=ramp.shape, voxel_size_angstrom=(2, 2, 2))
    np.testing.assert_array_equal(volume.read(ALL), ramp)


def test_identity_changes_with_the_metadata(tmp_path, ramp):
    path = write_image(tmp_path / "a.zarr", [ramp], scales=[(2, 2, 2)])
    first = open_volume(path).identity()
    assert open_volume(path).identity() == first
    write_image(tmp_path / "a.zarr", [ramp], scales=[(2, 2, 2.5)])
    assert open_volume(path).identity() != first


def test_zarr_is_told_by_its_content_or_its_name(tmp_path, ramp):
    path = write_image(tmp_path / "image", [ramp], scales=[(2, 2, 2)])
    assert is_zarr(path)
    assert is_zarr("s3://bucket/a.zarr/0")
    assert not is_zarr(str(tmp_path))
    assert not is_zarr("https://example.org/map.mrc")
