import bz2
import gzip
import pickle
import tracemalloc
import warnings
from itertools import permutations

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distres.errors import InputError, TrustWarning
from distres.io.grid import Grid
from distres.io.mrc_volume import MrcVolume, read_header, why_not_a_volume
from distres.io.mrc_write import Statistics, build_header, write_mrc

ALL = (slice(None),) * 3
FLAT = Statistics(minimum=0.0, maximum=0.0, mean=0.0, rms=0.0)
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
def test_every_mode_and_byte_order_reads_to_the_same_numbers(make_mrc, ramp, mode, order):
    volume = np.abs(ramp) if mode == 6 else np.clip(ramp, -128, 127)
    path = make_mrc(volume, mode=mode, order=order)
    read = MrcVolume.open(path).read(ALL)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, volume)  # small integers are exact in every mode


def test_unsigned_bytes_read_as_0_to_255(make_mrc, ramp):
    volume = ramp - ramp.min()
    path = make_mrc(volume, mode=0, stats=(0.0, float(volume.max()), 100.0))
    np.testing.assert_array_equal(MrcVolume.open(path).read(ALL), volume)


@pytest.mark.parametrize("packing", ["", "gz", "bz2"])
@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))))
def test_every_axis_order_reads_as_zyx(make_mrc, ramp, axes, packing):
    path = make_mrc(ramp, axes=axes, extended=b"symmetry" * 10)
    if packing:
        path.write_bytes(PACKERS[packing](path.read_bytes()))
    volume = MrcVolume.open(path)
    assert volume.shape == ramp.shape
    assert volume.random_access is (not packing)
    np.testing.assert_array_equal(volume.read(ALL), ramp)
    part = (slice(1, 4), slice(2, 3), slice(0, 6))
    np.testing.assert_array_equal(volume.read(part), ramp[part])
    again = np.full(ramp.shape, np.nan, np.float32)
    for region, values in volume.slabs(2):
        assert np.isnan(again[region]).all(), "a slab came twice"
        again[region] = values
    np.testing.assert_array_equal(again, ramp)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_region_of_any_axis_order_is_the_same_region_of_the_array(make_mrc, ramp, data):
    axes = data.draw(st.permutations((1, 2, 3)))
    region = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))))
        for n in ramp.shape
    )
    volume = MrcVolume.open(make_mrc(ramp, mode=1, order=">", axes=tuple(axes)))
    np.testing.assert_array_equal(volume.read(region), ramp[region])


def test_mrcfile_reads_the_same_voxels(make_mrc, ramp):
    path = make_mrc(ramp, order=">", mode=1)
    with mrcfile.open(path, permissive=True) as other:
        np.testing.assert_array_equal(MrcVolume.open(path).read(ALL), other.data)


def test_volumes_travel_as_a_few_bytes_and_read_elsewhere(make_mrc, ramp):
    volume = MrcVolume.open(make_mrc(ramp))
    sent = pickle.dumps(volume)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).read(ALL), ramp)


def test_opening_and_reading_a_part_of_a_large_file_takes_little_memory(tmp_path, make_mrc):
    raw = bytearray(make_mrc.bytes(np.zeros((2, 2, 2), np.float32))[:1024])
    raw[:12] = np.array([2000, 2000, 2000], "<i4").tobytes()
    path = tmp_path / "sparse.mrc"
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(1024 + 4 * 2000**3)  # 32 GB that take no disk
    tracemalloc.start()
    volume = MrcVolume.open(path, pixel_size_angstrom=1.2)
    block = volume.read((slice(1900, 1916), slice(1000, 1064), slice(500, 564)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert block.shape == (16, 64, 64)
    assert peak < 4 * block.nbytes + 1_000_000  # the block, its float32 copy, and small things


@pytest.mark.parametrize(
    ("fields", "name", "reason"),
    [
        ({"mode": 4}, "map.mrc", "complex numbers .* mode 4"),
        ({"ispg": 401, "sampling": (7, 6, 1)}, "map.mrc", "stack of 5 volumes"),
        ({}, "map.mrcs", "image stack by its name"),
        ({}, "tilts.st", "image stack by its name"),
        ({"angles": (90.0, 90.0, 120.0)}, "map.mrc", "angles 90, 90, 120"),
    ],
)
def test_files_that_are_no_volume_are_refused_with_the_reason(make_mrc, ramp, fields, name, reason):
    path = make_mrc(ramp, name=name, **fields)
    with pytest.raises(InputError, match=reason.replace(" .* ", ".*")):
        MrcVolume.open(path)
    assert why_not_a_volume(read_header(path)[0], path=str(path))


def test_a_single_image_is_refused(make_mrc):
    path = make_mrc(np.zeros((1, 6, 7), np.float32))
    with pytest.raises(InputError, match=r"single image or line \(7 x 6 x 1\)"):
        MrcVolume.open(path)


def test_an_image_stack_header_on_a_volume_is_taken_with_a_notice(make_mrc, ramp):
    volume = MrcVolume.open(make_mrc(ramp, ispg=0, sampling=(7, 6, 1), cell=(10.5, 9.0, 1.5)))
    assert volume.grid.voxel_size_angstrom == (1.5, 1.5, 1.5)
    assert any("ispg 0" in notice for notice in volume.header.notices)
    np.testing.assert_array_equal(volume.read(ALL), ramp)


def test_a_voxel_size_of_exactly_one_is_warned_about_unless_it_is_given(make_mrc, ramp):
    path = make_mrc(ramp, voxel=(1.0, 1.0, 1.0))
    with pytest.warns(TrustWarning, match=r"exactly 1\.0"):
        MrcVolume.open(path)
    volume = MrcVolume.open(path, pixel_size_angstrom=3.54)
    assert volume.grid.voxel_size_angstrom == (3.54, 3.54, 3.54)
    assert volume.header.voxel_size_angstrom == pytest.approx((3.54, 3.54, 3.54))


@pytest.mark.parametrize("packing", ["gz", "bz2"])
def test_a_compressed_file_that_ends_early_is_refused_with_both_counts(make_mrc, ramp, packing):
    path = make_mrc(ramp)
    raw = path.read_bytes()
    path.write_bytes(PACKERS[packing](raw[:-100]))
    volume = MrcVolume.open(path)
    with pytest.raises(InputError, match=f"need {len(raw)} bytes, the file has {len(raw) - 100}"):
        list(volume.slabs(2))
    path.write_bytes(PACKERS[packing](raw)[:-200])
    with pytest.raises(InputError, match=r"truncated|holds 0 bytes"):
        list(MrcVolume.open(path).slabs(2))


def test_damaged_compression_is_told_in_one_sentence(make_mrc):
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    path = make_mrc(noise)
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[len(packed) // 2] ^= 0xFF
    packed[-6] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"cannot be (unpacked|read)|truncated"):
        MrcVolume.open(path).read(ALL)


def test_a_file_cut_after_it_was_opened_is_told_in_one_sentence(make_mrc, ramp):
    path = make_mrc(ramp)
    volume = MrcVolume.open(path)
    with path.open("r+b") as file:
        file.truncate(1200)
    with pytest.raises(InputError, match="the file has 1200"):
        volume.read(ALL)


@pytest.mark.parametrize("content", [b"", b"short", b"\x1f\x8bnot gzip at all", b"BZh nonsense"])
def test_what_is_no_mrc_file_is_refused(tmp_path, content):
    path = tmp_path / "map.mrc"
    path.write_bytes(content)
    with pytest.raises(InputError):
        MrcVolume.open(path)
    with pytest.raises(InputError, match="does not exist"):
        MrcVolume.open(tmp_path / "absent.mrc")


def test_identity_changes_with_content_time_and_pixel_size(make_mrc, ramp):
    path = make_mrc(ramp)
    first = MrcVolume.open(path).identity()
    assert MrcVolume.open(path).identity() == first
    assert MrcVolume.open(path, pixel_size_angstrom=2.0).identity() != first
    path = make_mrc(ramp, labels=("new",))
    assert MrcVolume.open(path).identity() != first


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1) | st.integers(0, 40)),
        min_size=1,
        max_size=8,
    )
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_file_with_any_header_is_read_or_refused_and_takes_little_memory(make_mrc, changes):
    path = make_mrc(np.zeros((6, 6, 6), np.float32))
    raw = bytearray(path.read_bytes())
    for word, value in changes:
        raw[4 * word : 4 * word + 4] = value.to_bytes(4, "little")
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrustWarning)
            volume = MrcVolume.open(path, pixel_size_angstrom=2.0)
        assert volume.read(ALL).shape == volume.shape
        assert volume.identity()
        build_header(volume.grid, volume.header, mode=2, statistics=FLAT)
    except InputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4_000_000


def test_one_angstrom_is_believed_in_our_own_files(tmp_path):
    values = np.ones((4, 4, 4), np.float32)
    grid = Grid(shape=(4, 4, 4), voxel_size_angstrom=(1.0, 1.0, 1.0))
    path = tmp_path / "ours.mrc"
    write_mrc(path, grid, None, [((slice(0, 4),) * 3, values)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MrcVolume.open(path)
