"""Lists of halves from names alone."""

import csv
import json

import pytest
from typer.testing import CliRunner

from distres.errors import InputError, OutputExistsError
from tomo.cli import app
from tomo.split import split_series, write_split

ANGLES = (-6.0, -3.0, 0.0, 3.0, 6.0)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("even", "odd"),
    [
        ("TS_01_{i:03d}_{a}_EVN.mrc", "TS_01_{i:03d}_{a}_ODD.mrc"),
        ("TS_01_{i:03d}_{a}_even.mrc", "TS_01_{i:03d}_{a}_odd.mrc"),
        ("average/even/TS_01_{i:03d}_{a}.mrc", "average/odd/TS_01_{i:03d}_{a}.mrc"),
    ],
)
def test_split_frames_put_every_tilt_into_both_halves_by_angle(tmp_path, even, odd):
    # Dose-symmetric: the order of acquisition is not the order of angles.
    for i, angle in enumerate((0.0, 3.0, -3.0, -6.0, 6.0)):
        touch(tmp_path, even.format(i=i, a=angle), odd.format(i=i, a=angle))
    (series,) = split_series([str(tmp_path)])
    assert (series.name, series.how) == ("TS_01", "frames")
    order = ((3, -6.0), (2, -3.0), (0, 0.0), (1, 3.0), (4, 6.0))
    assert series.even == tuple(str(tmp_path / even.format(i=i, a=a)) for i, a in order)
    assert series.odd == tuple(str(tmp_path / odd.format(i=i, a=a)) for i, a in order)


def test_whole_images_beside_their_halves_are_left_out(tmp_path):
    for i, angle in enumerate(ANGLES):
        stem = f"TS_01_{i:03d}_{angle}"
        touch(tmp_path, f"{stem}.mrc", f"{stem}_EVN.mrc", f"{stem}_ODD.mrc")
    (series,) = split_series([str(tmp_path)])
    assert len(series.even) == len(series.odd) == len(ANGLES)


@pytest.mark.parametrize(
    "name", ["P_1_{i:03d}[{a:.2f}]_EER.eer", "P_1_{i:03d}_{a}_Sep1.tif", "P_1_{i}_{a:.0f}.mrc"]
)
def test_without_split_frames_tilts_go_to_the_halves_in_turn(tmp_path, name):
    for i, angle in enumerate(ANGLES):
        touch(tmp_path, name.format(i=i, a=angle))
    (series,) = split_series([str(tmp_path)])
    assert (series.name, series.how) == ("P_1", "tilts")
    every = [str(tmp_path / name.format(i=i, a=a)) for i, a in enumerate(ANGLES)]
    assert (list(series.even), list(series.odd)) == (every[0::2], every[1::2])


def test_tables_of_relion_5_are_read(tmp_path):
    star = tmp_path / "TS_7.star"
    star.write_text(
        "data_TS_7\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographNameEven #2\n"
        "_rlnMicrographNameOdd #3\nm/1.mrc m/1_EVN.mrc m/1_ODD.mrc\n"
        "m/2.mrc m/2_EVN.mrc m/2_ODD.mrc\n"
    )
    (series,) = split_series([str(star)])
    assert series.even == ("m/1_EVN.mrc", "m/2_EVN.mrc")
    assert series.odd == ("m/1_ODD.mrc", "m/2_ODD.mrc")
    star.write_text("data_\nloop_\n_rlnMicrographName #1\na.mrc\nb.mrc\nc.mrc\n")
    (series,) = split_series([str(star)])
    assert (series.how, series.even, series.odd) == ("tilts", ("a.mrc", "c.mrc"), ("b.mrc",))


def test_the_command_writes_lists_and_a_table_and_keeps_what_is_there(tmp_path):
    for i, angle in enumerate(ANGLES):
        touch(tmp_path / "in", f"TS_01_{i:03d}_{angle}.mrc", f"TS_02_{i:03d}_{angle}.mrc")
    command = ["split", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert [row["series"] for row in json.loads(result.output)] == ["TS_01", "TS_02"]
    rows = list(csv.DictReader((tmp_path / "out" / "split.csv").open()))
    assert [row["even_images"] for row in rows] == ["3", "3"]
    assert len((tmp_path / "out" / "TS_02_odd.txt").read_text().split()) == 2
    series = split_series([str(tmp_path / "in")])
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_split(series, tmp_path / "out")
    assert len(write_split(series, tmp_path / "out", overwrite=True)) == 5


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["notes.txt", "map.mrc"], "no tilt image was found"),
        (["TS_01_000_0.0_EVN.mrc"], "was not found"),
        (["TS_01_000_0.0.mrc"], "one tilt only"),
    ],
)
def test_what_cannot_be_split_is_refused(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        split_series([str(tmp_path)])


def test_one_series_in_two_places_is_refused(tmp_path):
    for place in ("a", "b"):
        for i, angle in enumerate(ANGLES):
            touch(tmp_path / place, f"TS_01_{i:03d}_{angle}.mrc")
    with pytest.raises(InputError, match="more than once"):
        split_series([str(tmp_path / "a"), str(tmp_path / "b")])
    star = tmp_path / "x.star"
    star.write_text("data_\nloop_\n_rlnTomoName\nA\n")
    with pytest.raises(InputError, match="lists no images"):
        split_series([str(star)])
