import pytest

from distres.io.names import stem_of


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("/data/emd_11007_half_map_1.map.gz", "emd_11007_half_map_1"),
        ("TS_01_10.00Apx.mrc", "TS_01_10.00Apx"),
        ("s3://bucket/tomo.ome.zarr/", "tomo"),
        ("array", "array"),
    ],
)
def test_the_stem_is_the_name_without_folders_and_format(path, stem):
    assert stem_of(path) == stem
