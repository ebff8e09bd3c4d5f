"""Every real and derived file of the reference data, against its documented truth."""

import gzip

import mrcfile
import numpy as np
import pytest

from distres.errors import InputError, TrustWarning
from distres.io.mrc_volume import MrcVolume, read_header

ALL = (slice(None),) * 3
LARGEST = 0.66908878  # of the derived files' truth, see their descriptions
LOWEST, RANGE = -0.54142815, 1.2105169

REFUSED = {
    "format/3pqr-mode0.ccp4.gz": "angles 90, 90, 120",
    "format/5i55_tiny.ccp4": r"angles 90, 111\.975, 90",
    "format/EMD-3001.map": r"angles 90, 94\.326, 90",
    "format/EMD-3001.map.bz2": r"angles 90, 94\.326, 90",
    "format/emd_3001.map.gz": r"angles 90, 94\.326, 90",
    "format/emd_8216.map.gz": r"angles 90, 111\.55, 90",
    "format/fei1_exthdr_64.mrc.gz": "single image",
    "format/fei2_exthdr_64.mrc.gz": "single image",
    "format/pyto_swapped_byte_order.mrc": r"single image or line \(10 x 2 x 1\)",
    "format/corrupt_header.map": "need 34280108 bytes, the file has 1108",
    "format/truncated.map": "need 33024 bytes, the file has 20000",
    "format/derived/mode4_complex.mrc": "complex numbers",
    "format/derived/volume_stack.mrc": "stack of 2 volumes",
    "format/derived/zero_cell.mrc": "no usable voxel size",
    "maps/emd_1703_msk.map.gz": "no usable voxel size",
    "maps/emd_1703_msk_1.map.gz": "no usable voxel size",
    "maps/aspire_70S_65.mrc.gz": "no usable voxel size",
}

# Shape (z, y, x), voxel size (x, y, z) and position of the first voxel in voxels (x, y, z).
READ = {
    "format/EMD-3197.map": ((20, 20, 20), (11.4,) * 3, (-2, 0, 0)),
    "format/EMD-3197.map.bz2": ((20, 20, 20), (11.4,) * 3, (-2, 0, 0)),
    "format/emd_3197.map.gz": ((20, 20, 20), (11.4,) * 3, (-2, 0, 0)),
    "format/cctbx_20_21_22.ccp4": ((29, 20, 11), (0.446, 0.4173, 0.4337), (20, 21, 22)),
    "format/cctbx_non_zero_origin.ccp4.gz": ((32, 40, 30), (0.747, 0.7231, 0.7374), (100,) * 3),
    "format/test.ccp4": ((6, 4, 8), (0.75, 0.5, 0.6667), (0, 0, 0)),
    "format/emd_50S_noncubic.mrc.gz": ((128, 32, 32), (4.0,) * 3, (0, 0, 0)),
    "format/h2o-elf-nstart.ccp4.gz": ((40, 40, 40), (0.15,) * 3, (4, 3, 5)),
    "format/h2o-elf-nstart-skwtrn.ccp4.gz": ((40, 40, 40), (0.15,) * 3, (4, 3, 5)),
    "format/h2o-elf-skwtrn.ccp4.gz": ((40, 40, 40), (0.15,) * 3, (0, 0, 0)),
    "format/h2o-elf-nstart-origin.mrc.gz": ((40, 40, 40), (0.15,) * 3, None),
    "maps/emd_11007_crop.map.gz": ((160, 160, 192), (0.834,) * 3, (0, 40, 40)),
    "maps/emd_3488.mrc.gz": ((100, 100, 100), (1.05,) * 3, (0, 0, 0)),
    "maps/emd_3488_contour_mask.mrc.gz": ((100, 91, 91), (1.05,) * 3, (0, 0, 0)),
    "maps/emd_21457_seg.mrc.gz": ((47, 40, 48), (1.05,) * 3, (155, 220, 195)),
    "maps/emd_21457_seg_nstart.mrc.gz": ((47, 40, 48), (1.05,) * 3, (155, 220, 195)),
    "maps/emd_21457_seg_orig0.mrc.gz": ((47, 40, 48), (1.05,) * 3, (0, 0, 0)),
    "maps/ngl_betaGal.mrc.gz": ((100, 100, 100), (3.54,) * 3, (0, 0, 0)),
    "maps/emd_1461_vp6_96.mrc.gz": ((96, 96, 96), (1.23,) * 3, (0, 0, 0)),
    "maps/emd_1461_crop.mrc.gz": ((96, 80, 75), (1.23,) * 3, (44, -33, 183)),
    "maps/emd_6272_crop.mrc.gz": ((52, 52, 52), (1.023,) * 3, (0, 0, 0)),
    "maps/emd_2566_crop.mrc.gz": ((47, 52, 35), (1.34,) * 3, (266, 116, 119)),
    "maps/emd_5625.map.gz": ((56, 56, 56), (4.23,) * 3, (-28,) * 3),
    "maps/emd_1832.map.gz": ((64, 64, 64), (5.7,) * 3, (-32,) * 3),
    "maps/emd_1703.map.gz": ((46, 65, 46), (6.0,) * 3, (0, 0, 0)),
    "tomograms/emd_1155.map.gz": ((281, 91, 141), (16.4,) * 3, (0, 0, 0)),
    "tomograms/tardis_crop.mrc.gz": ((78, 64, 32), (23.2,) * 3, (0, 0, 0)),
    "tomograms/pyto_crop_int16.mrc.gz": ((20, 30, 40), (4.0,) * 3, (-236, -241, -22.5)),
}

# How the truth was stored, and the largest error that storing it makes.
STORED = {
    "mode1": (lambda truth: np.round(truth / LARGEST * 32000), 0.0),
    "big_endian_mode1": (lambda truth: np.round(truth / LARGEST * 32000), 0.0),
    # The documented range has eight digits: rounding may fall one step off.
    "mode6": (lambda truth: np.round((truth - LOWEST) / RANGE * 65535), 1.0),
    "mode0": (lambda truth: np.round(truth / LARGEST * 127), 0.0),
    "mode12": (lambda truth: truth, 2.0**-11),  # half a unit in the last place, relative to 1
}
PLACES = {
    **dict.fromkeys(("axes_132", "axes_213", "axes_231", "axes_312", "axes_321"), (3, -5, 7)),
    **dict.fromkeys(("nstart", "origin", "partial_cell"), (34, 36, 38)),
}
DERIVED = (
    *("mode2.mrc", "mode2.mrc.gz", "big_endian_mode2.mrc", "exthdr_serialem.mrc"),
    *("exthdr_symops.mrc", "image_stack_ispg0.mrc", "old_style_no_map_id.mrc"),
    *("anisotropic_voxel.mrc", "zero_cell.mrc"),
    *(f"{name}.mrc" for name in (*STORED, *PLACES)),
)


def voxels_by_mrcfile(path):
    """Read with an independent program and turn to z, y, x by the header's own words."""
    opened = mrcfile.open(path, permissive=True)
    with opened as file:
        stored, header = np.array(file.data), file.header
        axes = [int(header.mapc), int(header.mapr), int(header.maps)]
    order = [2 - axes.index(axis) for axis in (3, 2, 1)]
    return stored.transpose(order)


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_cannot_be_used_are_refused_with_the_reason(shared, name):
    with pytest.raises(InputError, match=REFUSED[name]) as caught:
        MrcVolume.open(shared / "data" / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READ)
def test_real_files_are_read_to_their_documented_size_voxel_and_place(shared, name):
    shape, voxel, start = READ[name]
    path = shared / "data" / name
    volume = MrcVolume.open(path)
    assert volume.shape == shape
    # The table rounds voxel sizes to four digits.
    np.testing.assert_allclose(volume.grid.voxel_size_angstrom[::-1], voxel, rtol=1e-3)
    if start is not None:
        found = np.divide(volume.grid.origin_angstrom, volume.grid.voxel_size_angstrom)[::-1]
        # The same place by ORIGIN differs by a twentieth of a voxel from that by NSTART.
        np.testing.assert_allclose(found, start, atol=0.06)
    if name.startswith("tomograms/tardis"):
        assert volume.header.unsigned  # mrcfile reads these bytes as signed
        return
    np.testing.assert_array_equal(volume.read(ALL), voxels_by_mrcfile(path))


@pytest.mark.parametrize("name", DERIVED)
def test_every_form_of_one_map_reads_to_the_same_density(shared, name):
    path = shared / "data" / "format" / "derived" / name
    truth = np.load(path.parent / "ref_zyx.npy")
    key = name.removesuffix(".gz").removesuffix(".mrc")
    volume = MrcVolume.open(path, pixel_size_angstrom=1.05 if key == "zero_cell" else None)
    store, error = STORED.get(key, (lambda values: values, 0.0))
    np.testing.assert_allclose(volume.read(ALL), store(truth), rtol=0, atol=error)
    height = 2.1 if key == "anisotropic_voxel" else 1.05
    np.testing.assert_allclose(volume.grid.voxel_size_angstrom, (height, 1.05, 1.05), rtol=1e-6)
    start = np.multiply(PLACES.get(key, (0, 0, 0)), 1.05)[::-1]
    np.testing.assert_allclose(volume.grid.origin_angstrom, start, atol=1e-4)


def test_the_nan_file_keeps_its_nan_for_the_count(shared):
    values = MrcVolume.open(shared / "data/format/derived/nan_inf.mrc").read(ALL)
    assert np.isnan(values[3, 4, 5])
    assert np.isinf(values[6, 7, 8])
    assert (~np.isfinite(values)).sum() == 2


def test_a_wrong_voxel_size_of_one_is_warned_about(shared):
    path = shared / "data/maps/ngl_localResolution.mrc.gz"
    with pytest.warns(TrustWarning, match=r"exactly 1\.0"):
        MrcVolume.open(path)
    volume = MrcVolume.open(path, pixel_size_angstrom=3.54)
    assert volume.grid.voxel_size_angstrom == (3.54, 3.54, 3.54)


def test_the_tables_name_every_map_file(shared):
    data = shared / "data"
    names = {
        str(path.relative_to(data))
        for folder in ("format", "maps", "tomograms")
        for path in (data / folder).rglob("*")
        if path.is_file() and not path.name.endswith((".pdb.gz", ".npy"))
    }
    known = {*REFUSED, *READ, *(f"format/derived/{name}" for name in DERIVED)}
    known |= {"format/derived/nan_inf.mrc", "maps/ngl_localResolution.mrc.gz"}
    assert names - known == set()


def test_headers_of_compressed_files_are_read_without_unpacking_them(shared):
    path = shared / "data/format/fei2_exthdr_64.mrc.gz"
    header, compression, _ = read_header(path)
    assert (compression, header.extended_bytes) == ("gz", 909312)
    with gzip.open(path) as file:
        assert header.labels == tuple(
            text for text in (file.read(1024)[224:304].decode().strip("\0 "),) if text
        )
