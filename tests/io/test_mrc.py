from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.errors import InputError
from distres.io.mrc import MrcHeader
from distres.io.mrc_parse import MAX_EXTENT, parse_header

PLAIN = np.zeros((5, 6, 7), np.float32)


def test_a_header_of_1024_bytes_is_laid_out_as_mrc2014_says(make_mrc):
    raw = make_mrc.bytes(PLAIN, nstart=(1, -2, 3), origin=(4.5, 5.5, 6.5), labels=("one", "two"))
    header = parse_header(raw, name="map", stored_bytes=len(raw))
    assert header.nstart == (1, -2, 3)
    assert header.origin == (4.5, 5.5, 6.5)
    assert header.shape == (5, 6, 7)
    assert header.sampling == (7, 6, 5)
    assert header.voxel_size_angstrom == (1.5, 1.5, 1.5)
    assert header.labels == ("one", "two")
    assert header.notices == ()


@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))))
def test_starts_of_every_axis_order_come_back_as_xyz(make_mrc, axes):
    raw = make_mrc.bytes(PLAIN, axes=axes, nstart=(3, -5, 7), voxel=(1.0, 2.0, 4.0))
    header = parse_header(raw, name="map")
    assert header.nstart == (3, -5, 7)
    assert header.extents_xyz == (7, 6, 5)
    assert header.voxel_size_angstrom == (1.0, 2.0, 4.0)
    assert header.grid().origin_angstrom == (28.0, -10.0, 3.0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"DD\0\0", b"\x11\x11\0\0", b"DA\0\0", b"MA\0\0", bytes(4)])
def test_the_byte_order_is_what_makes_sense_whatever_the_stamp_says(make_mrc, order, stamp):
    raw = make_mrc.bytes(PLAIN, order=order, stamp=stamp)
    header = parse_header(raw, name="map", stored_bytes=len(raw))
    assert header.byte_order == order
    assert header.shape == PLAIN.shape


def test_without_axis_order_the_file_length_decides_the_byte_order(make_mrc):
    # 256 = 0x100 is 65536 the other way round: both are plausible lengths, and mode 0 is symmetric.
    volume = np.zeros((1 << 8, 2, 2), np.int8)
    raw = bytearray(make_mrc.bytes(volume, mode=0, order=">", stamp=bytes(4)))
    raw[64:76] = bytes(12)
    header = parse_header(bytes(raw), name="map", stored_bytes=len(raw))
    assert header.byte_order == ">"
    assert header.axes == (1, 2, 3)
    assert "axis order is unset" in header.notices[0]


def test_voxel_size_is_cell_over_sampling_not_over_extent(make_mrc):
    raw = make_mrc.bytes(PLAIN, sampling=(100, 100, 100), cell=(105.0, 105.0, 105.0))
    assert parse_header(raw, name="map").voxel_size_angstrom == pytest.approx((1.05,) * 3)


def test_position_is_origin_when_set_and_nstart_otherwise():
    header = MrcHeader(
        nstart=(2, 4, 6), cell_angstrom=(10.0, 10.0, 10.0), sampling=(5, 5, 5), extents=(5, 5, 5)
    )
    assert header.grid().origin_angstrom == (12.0, 8.0, 4.0)
    moved = MrcHeader(
        nstart=(2, 4, 6),
        origin=(0.0, 1.0, 0.0),
        cell_angstrom=(10.0, 10.0, 10.0),
        sampling=(5, 5, 5),
        extents=(5, 5, 5),
    )
    assert moved.grid().origin_angstrom == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    "cell",
    [
        (0.0, 0.0, 0.0),
        (0.0, 9.0, 9.0),
        (float("nan"), 9.0, 9.0),
        (float("inf"), 9.0, 9.0),
        (-3.0, 9.0, 9.0),
        (1e-30, 9.0, 9.0),
    ],
)
def test_an_unset_cell_is_an_error_until_a_pixel_size_is_given(make_mrc, cell):
    header = parse_header(make_mrc.bytes(PLAIN, cell=cell), name="map")
    assert header.voxel_size_angstrom is None
    with pytest.raises(InputError, match=r"no usable voxel size.*--pixel-size"):
        header.grid()
    assert header.grid(2.5).voxel_size_angstrom == (2.5, 2.5, 2.5)
    assert header.with_pixel_size(2.5).voxel_size_angstrom == (2.5, 2.5, 2.5)


def test_an_image_stack_header_over_a_volume_keeps_its_voxel_height(make_mrc):
    with_mz_1 = {"ispg": 0, "sampling": (7, 6, 1)}
    flat = parse_header(make_mrc.bytes(PLAIN, cell=(10.5, 9.0, 1.5), **with_mz_1), name="map")
    tall = parse_header(make_mrc.bytes(PLAIN, cell=(10.5, 9.0, 7.5), **with_mz_1), name="map")
    assert flat.voxel_size_angstrom == tall.voxel_size_angstrom == (1.5, 1.5, 1.5)
    assert any("ispg 0" in notice for notice in flat.notices)


@pytest.mark.parametrize(
    ("fields", "unsigned"),
    [
        ({"imod": (1146047817, 1), "stats": (0.0, 200.0, 90.0)}, False),
        ({"imod": (1146047817, 0), "stats": (0.0, 100.0, 50.0)}, True),
        ({"stats": (0.0, 200.0, 90.0)}, True),
        ({"stats": (-3.0, 200.0, 90.0)}, False),
        ({"stats": (0.0, 127.0, 50.0)}, False),
    ],
)
def test_mode_0_is_unsigned_by_imods_flag_or_by_a_maximum_over_127(make_mrc, fields, unsigned):
    header = parse_header(make_mrc.bytes(PLAIN, mode=0, **fields), name="map")
    assert header.unsigned is unsigned
    assert header.dtype == np.dtype("u1" if unsigned else "i1")


def test_old_headers_without_map_id_have_no_origin(make_mrc):
    raw = make_mrc.bytes(PLAIN, map_id=bytes(4), stamp=bytes(4), origin=(3.0, 4.0, 5.0))
    header = parse_header(raw, name="map")
    assert header.origin == (0.0, 0.0, 0.0)
    assert "no MAP identifier" in header.notices[0]


def test_a_short_file_is_refused_with_both_byte_counts(make_mrc):
    raw = make_mrc.bytes(PLAIN, extended=bytes(80))
    whole = 1024 + 80 + 5 * 6 * 7 * 4
    assert len(raw) == whole
    with pytest.raises(InputError, match=f"need {whole} bytes, the file has {whole - 1}"):
        parse_header(raw, name="map", stored_bytes=whole - 1)
    longer = parse_header(raw, name="map", stored_bytes=whole + 3)
    assert longer.notices == ("3 bytes after the voxels are ignored",)
    with pytest.raises(InputError, match="holds 10 bytes"):
        parse_header(raw[:10], name="map")


def refused_in_one_sentence(error):
    assert "\n" not in str(error)
    assert len(str(error)) < 300


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1)), min_size=1, max_size=12
    ),
    size=st.none() | st.integers(0, 1 << 40),
)
@settings(max_examples=1000, deadline=None)
def test_any_header_is_either_understood_or_refused_in_one_sentence(changes, size):
    raw = np.zeros(256, "<u4")
    raw[:3], raw[3], raw[7:10], raw[16:19] = 8, 2, 8, (1, 2, 3)
    for word, value in changes:
        raw[word] = value
    try:
        header = parse_header(raw.tobytes(), name="map", stored_bytes=size)
    except InputError as error:
        refused_in_one_sentence(error)
        return
    assert sorted(header.axes) == [1, 2, 3]
    assert all(1 <= n <= MAX_EXTENT for n in header.extents)
    assert header.data_offset >= 1024
    voxel = header.voxel_size_angstrom
    assert voxel is None or all(1e-3 <= size <= 1e5 for size in voxel)


@given(raw=st.binary(min_size=1024, max_size=1024))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused_in_one_sentence(raw):
    try:
        parse_header(raw, name="map", stored_bytes=1024)
    except InputError as error:
        refused_in_one_sentence(error)
    else:
        raise AssertionError("1024 random bytes cannot hold a header and its voxels")
