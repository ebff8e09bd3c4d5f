import numpy as np
import pytest

from distres.errors import InputError
from distres.io.halves import find_partner, open_halves

PAIRS = [
    ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "RELION"),
    ("half1/run_half1_half1.mrc", "half1/run_half2_half2.mrc", "RELION"),
    ("tomograms/rec_TS_01_half1.mrc", "tomograms/rec_TS_01_half2.mrc", "RELION"),
    (
        "cryosparc_P4_J14_009_volume_map_half_A.mrc",
        "cryosparc_P4_J14_009_volume_map_half_B.mrc",
        "cryoSPARC",
    ),
    ("emd_11007_half_map_1.map.gz", "emd_11007_half_map_2.map.gz", "EMDB"),
    ("half_map_A.mrc", "half_map_B.mrc", "half_map_A"),
    ("emd_1234_half-map-1.mrc", "emd_1234_half-map-2.mrc", "half-1"),
    ("halfmap1.ccp4", "halfmap2.ccp4", "half-1"),
    ("HalfA.mrc", "HalfB.mrc", "half-A"),
    ("reconstruction/even/TS_01_10.00Apx.mrc", "reconstruction/odd/TS_01_10.00Apx.mrc", "Warp"),
    ("TS_01_EVN_Vol.mrc", "TS_01_ODD_Vol.mrc", "AreTomo"),
    ("tomo_even.mrc", "tomo_odd.mrc", "even / odd in the name"),
    ("Even_tomo.rec", "Odd_tomo.rec", "even / odd in the name"),
    ("TS_01_half1.zarr", "TS_01_half2.zarr", "RELION"),
]


@pytest.mark.parametrize(("first", "second", "rule"), PAIRS)
def test_halves_find_each_other_by_name(tmp_path, first, second, rule):
    for name in (first, second):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_partner(tmp_path / first)
    assert (found.path, found.is_second) == (str(tmp_path / second), True)
    assert rule in found.rule
    back = find_partner(tmp_path / second)
    assert (back.path, back.is_second) == (str(tmp_path / first), False)


@pytest.mark.parametrize("name", ["emd_11007.map", "half_map_13.mrc", "behalf.mrc", "oddly.mrc"])
def test_a_name_that_follows_no_rule_asks_for_the_second_half(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"no known rule.*name the second half"):
        find_partner(tmp_path / name)


def test_a_missing_partner_is_named(tmp_path):
    with pytest.raises(InputError, match=r"half2_unfil\.mrc does not exist"):
        find_partner(tmp_path / "run_half1_unfil.mrc")


@pytest.mark.parametrize("name", ["nothing.mrc", "map_half1.mrc"])
def test_a_half_that_does_not_exist_is_named_before_any_rule(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name} does not exist"):
        open_halves(tmp_path / name)


@pytest.fixture
def noise():
    return np.random.default_rng(7).normal(size=(8, 9, 10)).astype(np.float32)


def test_one_half_is_enough_and_the_pair_is_put_in_order(make_mrc, noise):
    make_mrc(noise, name="map_half1.mrc")
    second = make_mrc(-noise, name="map_half2.mrc")
    pair = open_halves(second)
    assert pair.first.path.endswith("half1.mrc")
    assert pair.second.path.endswith("half2.mrc")
    assert "RELION" in pair.rule


def test_a_second_half_that_is_given_wins_over_the_rules(make_mrc, noise):
    first = make_mrc(noise, name="map_half1.mrc")
    make_mrc(-noise, name="map_half2.mrc")
    other = make_mrc(noise + 1, name="other.mrc")
    pair = open_halves(first, other)
    assert pair.second.path == str(other)


def test_the_same_file_and_the_same_voxels_are_refused(make_mrc, noise):
    first = make_mrc(noise, name="a.mrc")
    with pytest.raises(InputError, match="both halves are"):
        open_halves(first, first)
    other_way = make_mrc(noise, name="b.mrc", axes=(3, 1, 2), labels=("renamed",))
    with pytest.raises(InputError, match="the same voxels"):
        open_halves(first, other_way)
    noise[4, 4, 4] += 1  # one voxel between the planes that are compared first
    assert open_halves(first, make_mrc(noise, name="c.mrc"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"voxel": (1.6, 1.6, 1.6)}, r"1\.6, 1\.6, 1\.6 angstrom.*1\.5, 1\.5, 1\.5"),
        ({"nstart": (10, 0, 0)}, r"starts at 15, 0, 0.*starts at 0, 0, 0"),
    ],
)
def test_halves_on_other_grids_are_refused_with_both_values(make_mrc, noise, fields, message):
    first = make_mrc(noise, name="a.mrc")
    with pytest.raises(InputError, match=message):
        open_halves(first, make_mrc(-noise, name="b.mrc", **fields))


def test_other_shapes_are_refused_with_both_shapes_in_xyz(make_mrc, noise):
    first = make_mrc(noise, name="a.mrc")
    second = make_mrc(noise[:-1], name="b.mrc")
    with pytest.raises(InputError, match=r"10, 9, 7 voxels.*10, 9, 8"):
        open_halves(first, second)


def test_rounded_cells_are_no_difference(make_mrc, noise):
    first = make_mrc(noise, name="a.mrc", voxel=(1.5, 1.5, 1.5))
    second = make_mrc(-noise, name="b.mrc", voxel=(1.501, 1.501, 1.501))
    assert open_halves(first, second).rule == "both halves were given"
