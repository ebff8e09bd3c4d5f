import gzip
import warnings

import mrcfile
import numpy as np
import pytest
import zarr

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.errors import InputError, ResumeError
from distres.io.omezarr import OmeZarrVolume
from distres.io.volume import open_volume
from distres.kernels.resample import halve_volume
from distres.methods import stream
from distres.methods.convert import convert
from distres.methods.pyramid import default_levels, ingest

ALL = (slice(None),) * 3
HERE = Executor(memory_bytes=4 << 30)


@pytest.fixture
def noise():
    return np.random.default_rng(5).normal(2, 3, size=(150, 140, 130)).astype(np.float32)


def save(path, values, voxel=1.5):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mrcfile warns of NaN
        with mrcfile.new(path, values) as file:
            file.voxel_size = voxel
    return path


def levels_of(values, count):
    found = [values]
    while len(found) < count:
        found.append(halve_volume(found[-1]))
    return found


@pytest.mark.parametrize("form", ["plain", "gz", "array"])
def test_every_kind_of_input_gets_the_levels_of_the_whole_volume_bit_for_bit(tmp_path, noise, form):
    path = save(tmp_path / "map.mrc", noise)
    if form == "gz":
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    volume = open_volume(noise if form == "array" else path, 1.5)
    with Run.open(tmp_path / "run") as run:
        sources = ingest(volume, run, "half1", HERE, 3)
        for level, expected in enumerate(levels_of(noise, 3)):
            assert sources[level].shape == expected.shape
            np.testing.assert_array_equal(sources[level].read(ALL), expected)
            again = OmeZarrVolume.open(f"{run.store}/inputs/half1/{level}")
            assert again.grid == volume.grid.coarser(2**level)


def test_sections_along_x_are_streamed_along_x(tmp_path, make_mrc, ramp, monkeypatch):
    monkeypatch.setattr(stream, "SLAB_BYTES", 4 * 30 * 2)  # slabs of two planes
    path = make_mrc(ramp, axes=(3, 2, 1))
    path.write_bytes(gzip.compress(path.read_bytes()))
    volume = open_volume(path)
    with Run.open(tmp_path / "run") as run:
        (source,) = ingest(volume, run, "half1", HERE, 1)
        np.testing.assert_array_equal(source.read(ALL), ramp)
        assert zarr.open_array(run.store, path="inputs/half1/0").shards[2] == 2


def test_what_is_done_is_not_read_again_and_another_input_is_refused(tmp_path, noise, monkeypatch):
    path = save(tmp_path / "map.mrc", noise)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    volume = open_volume(path)
    with Run.open(tmp_path / "run") as run:
        first = ingest(volume, run, "half1", HERE, 2)
    with Run.open(tmp_path / "run", resume=True) as run:
        with monkeypatch.context() as patch:
            patch.setattr(type(volume), "slabs", lambda *_: pytest.fail("read again"))
            assert ingest(volume, run, "half1", HERE, 2) == first
        other = open_volume(noise + 1, 1.5)
        with pytest.raises(ResumeError, match="another input"):
            ingest(other, run, "half1", HERE, 2)


def test_a_pass_that_was_cut_short_is_done_again(tmp_path, noise, monkeypatch):
    volume = open_volume(noise, 1.5)
    real = type(volume).slabs

    def broken(self, thickness):
        for count, slab in enumerate(real(self, thickness)):
            if count == 1:
                raise KeyboardInterrupt
            yield slab

    with Run.open(tmp_path / "run") as run:
        # identity() hashes slabs too, so the break comes after it is taken.
        identity = volume.identity()
        with monkeypatch.context() as patch:
            patch.setattr(type(volume), "identity", lambda _: identity)
            patch.setattr(type(volume), "slabs", broken)
            with pytest.raises(KeyboardInterrupt):
                ingest(volume, run, "half1", HERE, 1)
        (source,) = ingest(volume, run, "half1", HERE, 1)
        np.testing.assert_array_equal(source.read(ALL), noise)


def test_our_own_images_are_used_where_they_lie_and_foreign_ones_are_halved_by_us(tmp_path, noise):
    volume = open_volume(noise, 1.5)
    convert(volume, tmp_path / "own.zarr", HERE, levels=2)
    foreign = zarr.open_group(str(tmp_path / "foreign.zarr"), mode="w", zarr_format=2)
    scale = [{"type": "scale", "scale": [1.5] * 3}], [{"type": "scale", "scale": [3.0] * 3}]
    foreign.create_array("0", data=noise, chunks=(64, 64, 64))
    foreign.create_array("1", data=noise[::2, ::2, ::2], chunks=(64, 64, 64))  # not our filter
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    foreign.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [
                {"path": str(level), "coordinateTransformations": steps}
                for level, steps in enumerate(scale)
            ],
        }
    ]
    expected = levels_of(noise, 3)
    with Run.open(tmp_path / "run") as run:
        own = ingest(open_volume(tmp_path / "own.zarr"), run, "half1", HERE, 3)
        other = ingest(open_volume(tmp_path / "foreign.zarr"), run, "half2", HERE, 3)
        assert "inputs/half1/0" not in zarr.open_group(run.store)
        for level in range(3):
            np.testing.assert_array_equal(own[level].read(ALL), expected[level])
            np.testing.assert_array_equal(other[level].read(ALL), expected[level])


@pytest.mark.parametrize("packed", [False, True])
def test_nan_and_infinity_are_refused_with_count_and_place(tmp_path, noise, packed):
    noise[149, 5, 7] = np.inf
    noise[140, 130, 129] = np.nan
    path = save(tmp_path / "map.mrc", noise)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    message = r"2 NaN or infinite voxels, the first at .* = 129, 130, 140 "
    with Run.open(tmp_path / "run") as run, pytest.raises(InputError, match=message):
        ingest(open_volume(path), run, "half1", HERE, 1)
    with Run.open(tmp_path / "other") as run:
        (source,) = ingest(open_volume(path), run, "half1", HERE, 1, replace_nonfinite=0.0)
        assert source.read(ALL)[149, 5, 7] == 0
        assert np.isfinite(source.read(ALL)).all()


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ((20, 20, 20), 1),
        ((64, 64, 64), 3),
        ((512, 512, 512), 3),
        ((2048, 4096, 4096), 4),
        ((60, 4096, 4096), 2),
    ],
)
def test_levels_end_at_512_voxels_or_at_three_and_before_a_side_gets_thin(shape, levels):
    assert default_levels(shape) == levels
