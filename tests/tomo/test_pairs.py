"""Half tomograms by the habits of the programs that write them."""

import json

import pytest

from distres.errors import InputError
from tomo.pairs import find_pairs


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("even", "odd", "name"),
    [
        ("tomograms/rec_TS_01_half1.mrc", "tomograms/rec_TS_01_half2.mrc", "rec_TS_01"),
        ("reconstruction/even/TS_01_10.00Apx.mrc", "reconstruction/odd/TS_01_10.00Apx.mrc",
         "TS_01_10.00Apx"),
        ("TS_01_EVN_Vol.mrc", "TS_01_ODD_Vol.mrc", "TS_01__Vol"),
        ("TS_01_even.rec", "TS_01_odd.rec", "TS_01"),
    ],
)  # fmt: skip
def test_a_folder_is_searched_for_known_names(tmp_path, even, odd, name):
    make(tmp_path, even, odd, "other/unrelated.mrc")
    (pair,) = find_pairs([str(tmp_path)])
    assert pair.even == str(tmp_path / even)
    assert pair.odd == str(tmp_path / odd)
    assert pair.name == name


def test_one_half_leads_to_the_other_whichever_is_given(tmp_path):
    make(tmp_path, "a_half1.mrc", "a_half2.mrc")
    first, second = (find_pairs([str(tmp_path / f"a_half{i}.mrc")])[0] for i in (1, 2))
    assert first == second
    assert len(find_pairs([str(tmp_path / f"a_half{i}.mrc") for i in (1, 2)])) == 1


def test_star_files_of_relion_are_read_from_the_project(tmp_path):
    make(tmp_path, "Tomograms/job5/t/rec_1_half1.mrc", "Tomograms/job5/t/rec_1_half2.mrc")
    star = tmp_path / "Tomograms" / "job5" / "tomograms.star"
    star.write_text(
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoReconstructedTomogramHalf1 #2\n"
        "_rlnTomoReconstructedTomogramHalf2 #3\n"
        "TS_1 Tomograms/job5/t/rec_1_half1.mrc Tomograms/job5/t/rec_1_half2.mrc\n"
    )
    (pair,) = find_pairs([str(star)])
    assert pair.even == str(tmp_path / "Tomograms/job5/t/rec_1_half1.mrc")
    assert pair.name == "rec_1"


def test_lists_of_cryocare_are_read(tmp_path):
    make(tmp_path, "a_even.mrc", "a_odd.mrc")
    table = tmp_path / "train.json"
    table.write_text(json.dumps({"even": ["a_even.mrc"], "odd": ["a_odd.mrc"]}))
    (pair,) = find_pairs([str(table)])
    assert pair.odd == str(tmp_path / "a_odd.mrc")
    table.write_text(json.dumps({"even": ["a_even.mrc"], "odd": []}))
    with pytest.raises(InputError, match="1 even and 0 odd"):
        find_pairs([str(table)])


def test_equal_names_in_two_folders_are_told_apart(tmp_path):
    make(tmp_path, "one/t_half1.mrc", "one/t_half2.mrc", "two/t_half1.mrc", "two/t_half2.mrc")
    assert [p.name for p in find_pairs([str(tmp_path)])] == ["t", "t_2"]


def test_a_place_without_pairs_is_refused(tmp_path):
    make(tmp_path, "single.mrc")
    with pytest.raises(InputError, match="no pair of half tomograms"):
        find_pairs([str(tmp_path)])
    star = tmp_path / "x.star"
    star.write_text(
        "data_\nloop_\n_rlnTomoReconstructedTomogramHalf1\n"
        "_rlnTomoReconstructedTomogramHalf2\na b\n"
    )
    with pytest.raises(InputError, match="exists neither"):
        find_pairs([str(star)])
